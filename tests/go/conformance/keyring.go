package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
)

// keyring is a development keyring of ours: the formats of docs/formats.md written once more, from that page alone. With it
// this program makes states that no command of the plugin makes yet, and ciphertexts of versions that do not wrap any more.
type keyring struct {
	id       [8]byte
	root     []byte
	versions []keyVersion
}

type keyVersion struct {
	keyID, state string
	header       []byte
	kek, canary  []byte
}

// algorithm 1 is XAES-256-GCM.
const algorithm = 1

// newKeyring makes a keyring with one new version for each state.
func newKeyring(states ...string) (*keyring, error) {
	k := &keyring{root: seed()}
	rand.Read(k.id[:])
	for i, state := range states {
		v := keyVersion{state: state, kek: seed()}
		subject := binary.BigEndian.AppendUint32(append([]byte{algorithm}, k.id[:]...), uint32(i+1))
		var err error
		v.canary, err = xaesSeal(v.kek, []byte("keywright canary: fixed, public."), append([]byte("keywright canary 1"), subject...))
		if err != nil {
			return nil, err
		}
		check := sha256.Sum256(append(append([]byte("keywright check 1"), subject...), v.canary...))
		v.keyID = fmt.Sprintf("kw1.%x.%d.%x", k.id, i+1, check[:16])
		v.header = append(append([]byte{'K', 'W', 1}, subject...), check[:16]...)
		k.versions = append(k.versions, v)
	}
	return k, nil
}

var (
	rootLine    = regexp.MustCompile(`(?m)^root = "([0-9a-f]{64})"$`)
	versionText = regexp.MustCompile(`(?s)\[\[version\]\]\nkey-id = "([^"]+)"\nstate = "([^"]+)".*?wrapped = "([0-9a-f]{144})"`)
)

// parseKeyring opens a development keyring whose versions all have their key. It believes the file: it is a test's own.
func parseKeyring(text string) (*keyring, error) {
	root := rootLine.FindStringSubmatch(text)
	if root == nil {
		return nil, fmt.Errorf("no development slot")
	}
	k := &keyring{root: unhex(root[1])}
	for _, found := range versionText.FindAllStringSubmatch(text, -1) {
		v := keyVersion{keyID: found[1], state: found[2]}
		parts := strings.Split(v.keyID, ".")
		if len(parts) != 4 || len(parts[1]) != 16 || len(parts[3]) != 32 {
			return nil, fmt.Errorf("key_id %q", v.keyID)
		}
		copy(k.id[:], unhex(parts[1]))
		var number uint32
		if _, err := fmt.Sscan(parts[2], &number); err != nil {
			return nil, fmt.Errorf("key_id %q: %w", v.keyID, err)
		}
		v.header = append([]byte{'K', 'W', 1, algorithm}, k.id[:]...)
		v.header = append(binary.BigEndian.AppendUint32(v.header, number), unhex(parts[3])...)
		wrapping, err := k.derive("keywright wrap KEKs 1")
		if err != nil {
			return nil, err
		}
		if v.kek, err = xaesOpen(wrapping, unhex(found[3]), []byte("keywright KEK 1"+v.keyID)); err != nil {
			return nil, fmt.Errorf("KEK of %s: %w", v.keyID, err)
		}
		k.versions = append(k.versions, v)
	}
	return k, nil
}

// text is the keyring file.
func (k *keyring) text() (string, error) {
	wrapping, err := k.derive("keywright wrap KEKs 1")
	if err != nil {
		return "", err
	}
	authenticating, err := k.derive("keywright authenticate file 1")
	if err != nil {
		return "", err
	}
	var out strings.Builder
	fmt.Fprintf(&out, "# A keyring of the conformance tests.\n# INSECURE: its root key stands below in clear.\n\nformat = 1\nkeyring = \"%x\"\ngeneration = 1\n", k.id)
	fmt.Fprintf(&out, "\n[[slot]]\nkind = \"insecure-development\"\nroot = \"%x\"\n", k.root)
	for _, v := range k.versions {
		fmt.Fprintf(&out, "\n[[version]]\nkey-id = \"%s\"\nstate = \"%s\"\nprovider = \"local\"\nalgorithm = \"xaes-256-gcm\"\ncreated = \"2026-01-02T03:04:05Z\"\ncanary = \"%x\"\n",
			v.keyID, v.state, v.canary)
		if v.state == "destroyed" {
			continue
		}
		wrapped, err := xaesSeal(wrapping, v.kek, []byte("keywright KEK 1"+v.keyID))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&out, "wrapped = \"%x\"\n", wrapped)
	}
	out.WriteString("\n[authentication]\n")
	mac := hmac.New(sha256.New, authenticating)
	mac.Write([]byte(out.String()))
	fmt.Fprintf(&out, "hmac-sha256 = \"%x\"\n", mac.Sum(nil))
	return out.String(), nil
}

func (k *keyring) derive(info string) ([]byte, error) {
	return hkdf.Key(sha256.New, k.root, k.id[:], info, 32)
}

// wrap makes the envelope that the plugin would make under this version.
func (v keyVersion) wrap(purpose string, plaintext []byte) ([]byte, error) {
	sealed, err := xaesSeal(v.kek, plaintext, v.associatedData(purpose))
	return append(append([]byte{}, v.header...), sealed...), err
}

// unwrap opens an envelope of the plugin.
func (v keyVersion) unwrap(purpose string, envelope []byte) ([]byte, error) {
	if len(envelope) < len(v.header) || string(envelope[:len(v.header)]) != string(v.header) {
		return nil, fmt.Errorf("the header is not that of %s", v.keyID)
	}
	return xaesOpen(v.kek, envelope[len(v.header):], v.associatedData(purpose))
}

func (v keyVersion) associatedData(purpose string) []byte {
	data := append([]byte{}, v.header...)
	for _, text := range []string{strings.Split(v.keyID, ".")[1], v.keyID, purpose} {
		data = append(binary.BigEndian.AppendUint16(data, uint16(len(text))), text...)
	}
	return data
}

const xaesNonce = 24

func xaesSeal(key, plaintext, associated []byte) ([]byte, error) {
	nonce := make([]byte, xaesNonce)
	rand.Read(nonce)
	aead, err := xaes(key, nonce)
	if err != nil {
		return nil, err
	}
	return aead.Seal(nonce, nonce[12:], plaintext, associated), nil
}

func xaesOpen(key, sealed, associated []byte) ([]byte, error) {
	if len(sealed) < xaesNonce {
		return nil, fmt.Errorf("shorter than a nonce")
	}
	aead, err := xaes(key, sealed[:xaesNonce])
	if err != nil {
		return nil, err
	}
	return aead.Open(nil, sealed[12:xaesNonce], sealed[xaesNonce:], associated)
}

// xaes derives the AES-256-GCM key of one nonce (C2SP XAES-256-GCM: CMAC in counter mode, worked out for its two blocks). What is
// left of the nonce is GCM's.
func xaes(key, nonce []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	k1 := make([]byte, aes.BlockSize)
	block.Encrypt(k1, k1)
	carry := k1[0] >> 7
	for i := range k1[:aes.BlockSize-1] {
		k1[i] = k1[i]<<1 | k1[i+1]>>7
	}
	k1[aes.BlockSize-1] = k1[aes.BlockSize-1]<<1 ^ carry*0x87
	derived := make([]byte, 0, 32)
	for counter := byte(1); counter <= 2; counter++ {
		m := append([]byte{0, counter, 'X', 0}, nonce[:12]...)
		for i := range m {
			m[i] ^= k1[i]
		}
		block.Encrypt(m, m)
		derived = append(derived, m...)
	}
	inner, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(inner)
}

// unhex decodes what a regular expression has found to be hexadecimal, or gives too few bytes for what follows to succeed.
func unhex(text string) []byte {
	bytes, _ := hex.DecodeString(text)
	return bytes
}
