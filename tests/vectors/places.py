"""Names of keys in tokens as docs/formats.md has them (section 4, format 2), written and read; shares no code with Keywright."""

import re

PLAIN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
VALUE = "(?:[A-Za-z0-9._~-]|%[0-9A-F]{2})+"
PLACE = re.compile(f"pkcs11:token=({VALUE});serial=({VALUE});object=({VALUE});id=((?:%[0-9A-F]{{2}}){{16}})")


def encoded(text):
    return "".join(chr(byte) if byte in PLAIN else f"%{byte:02X}" for byte in text.encode())


def decoded(text, most):
    """The bytes, or None if they are not written so, are too many, or are no text."""
    data = re.sub(b"%(..)", lambda found: bytes([int(found[1], 16)]), text.encode())
    try:
        return data if len(data) <= most and encoded(data.decode()) == text else None
    except UnicodeDecodeError:
        return None


def token(label, serial):
    return f"pkcs11:token={encoded(label)};serial={encoded(serial)}"


def place(label, serial, object_label, id_):
    return f"{token(label, serial)};object={encoded(object_label)};id=" + "".join(f"%{byte:02X}" for byte in id_)


def is_place(text):
    found = PLACE.fullmatch(text)
    return found is not None and None not in (decoded(found[1], 32), decoded(found[2], 16), decoded(found[3], 128))


def token_of(text):
    return text[: text.index(";object=")]


def beside(text, id_):
    """The key of another id in the same token, with the same label."""
    return text[: text.index(";id=") + 4] + "".join(f"%{byte:02X}" for byte in id_)
