"""What firmware and kernel tell the TPM behind a socket at a boot (`boot FILE`: the file is measured into PCR 7) and at its end (`end`)."""

import hashlib
import socket
import struct
import sys

# Names and layouts of the TPM 2.0 Library, parts 2 and 3.
TPM_ST_NO_SESSIONS, TPM_ST_SESSIONS = 0x8001, 0x8002
TPM_CC_SHUTDOWN, TPM_CC_PCR_EXTEND = 0x145, 0x182
TPM_RS_PW, TPM_ALG_SHA256, TPM_SU_CLEAR = 0x40000009, 0x000B, 0


def command(tag, code, body):
    return struct.pack(">HII", tag, 10 + len(body), code) + body


def measured(path):
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read()).digest()
    password = struct.pack(">IHBH", TPM_RS_PW, 0, 0, 0)
    digests = struct.pack(">IH", 1, TPM_ALG_SHA256) + digest
    return command(TPM_ST_SESSIONS, TPM_CC_PCR_EXTEND, struct.pack(">II", 7, len(password)) + password + digests)


# Without it the TPM takes the end for an attempt to get around its count of wrong authorisations, and locks after a few.
ENDED = command(TPM_ST_NO_SESSIONS, TPM_CC_SHUTDOWN, struct.pack(">H", TPM_SU_CLEAR))

path, what, *file = sys.argv[1:]
with socket.socket(socket.AF_UNIX) as tpm:
    tpm.connect(path)
    tpm.sendall(measured(*file) if what == "boot" else ENDED)
    answer = tpm.recv(4096)
code = struct.unpack(">HII", answer[:10])[2]
sys.exit(f"{what}: the TPM answered 0x{code:x}" if code else 0)
