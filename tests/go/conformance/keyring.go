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
	"strconv"
	"strings"
)

// keyring is a development keyring of ours: the formats of docs/formats.md written once more, from that page alone. With it
// this program makes states that no command of the plugin makes yet, and ciphertexts of versions that do not wrap any more.
type keyring struct {
	id       [8]byte
	root     []byte
	versions []keyVersion
	// coordination is the key of acknowledgements; a development keyring has one too.
	coordination []byte
}

type keyVersion struct {
	keyID, state string
	header       []byte
	kek, canary  []byte
}

// algorithm 1 is XAES-256-GCM.
const algorithm = 1

const (
	canaryText   = "keywright canary: fixed, public."
	canaryDomain = "keywright canary 1"
	wrapLabel    = "keywright wrap KEKs 1"
)

// newKeyring makes a keyring with one new version for each state.
func newKeyring(states ...string) (*keyring, error) {
	k := &keyring{root: seed(), coordination: seed()}
	rand.Read(k.id[:])
	for i, state := range states {
		v := keyVersion{state: state, kek: seed()}
		subject := k.subject(i + 1)
		var err error
		v.canary, err = xaesSeal(v.kek, []byte(canaryText), append([]byte(canaryDomain), subject...))
		if err != nil {
			return nil, err
		}
		check := keyCheck(subject, v.canary)
		v.keyID = fmt.Sprintf("kw1.%x.%d.%x", k.id, i+1, check)
		v.header = append(append([]byte{'K', 'W', 1}, subject...), check...)
		k.versions = append(k.versions, v)
	}
	return k, nil
}

const (
	advice  = "# Read it, copy it, but do not edit it: the last line authenticates every byte above it."
	warning = "# INSECURE: a development keyring. Its root key stands below in clear: whoever reads this file has every key in it."
	made    = "2026-01-02T03:04:05Z"
)

// parseKeyring opens a development keyring whose versions all have their key: the file is authentic, its history is a chain, and every
// key opens its canary.
func parseKeyring(text string) (*keyring, error) {
	k := &keyring{}
	covered, tag, found := strings.Cut(text, "hmac-sha256 ")
	if !found {
		return nil, fmt.Errorf("no authentication")
	}
	var wrapping []byte
	var head [32]byte
	var generation, entries uint64
	var sealedCoordination []byte
	for number, line := range strings.Split(strings.TrimSuffix(covered, "\n"), "\n") {
		words := strings.Split(line, " ")
		var err error
		switch {
		case number == 0 && line != "keywright-keyring 1", number == 1 && line != advice, number == 2 && line != warning:
			err = fmt.Errorf("another beginning")
		case number < 3:
		case words[0] == "keyring" && len(words) == 2 && len(words[1]) == 16:
			copy(k.id[:], unhex(words[1]))
		case words[0] == "generation" && len(words) == 2:
			generation, err = strconv.ParseUint(words[1], 10, 63)
		case words[0] == "hold" && len(words) == 2, line == "nodes":
		case words[0] == "coordination" && len(words) == 2:
			sealedCoordination = unhex(words[1])
		case words[0] == "slot" && len(words) == 3 && words[1] == "insecure-development":
			k.root = unhex(words[2])
			wrapping, err = k.derive(wrapLabel)
			if err == nil {
				k.coordination, err = xaesOpen(wrapping, sealedCoordination, k.coordinationData())
			}
		case words[0] == "version" && len(words) == 13 && words[11] == "wrapped":
			err = k.parseVersion(words, wrapping)
		case words[0] == "history" && len(words) >= 5:
			entries++
			head = historyDigest(head, entries, words[2], strings.Join(words[4:], " "))
			if words[1] != fmt.Sprint(entries) || words[3] != hex.EncodeToString(head[:]) {
				err = fmt.Errorf("the history is no chain")
			}
		default:
			err = fmt.Errorf("nothing that stands in a development keyring")
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number+1, err)
		}
	}
	if entries == 0 || entries != generation {
		return nil, fmt.Errorf("%d entries of history in generation %d", entries, generation)
	}
	expected, err := k.tag(covered)
	if err != nil || tag != hex.EncodeToString(expected)+"\n" {
		return nil, fmt.Errorf("not authentic: %v", err)
	}
	return k, nil
}

// parseVersion takes `version KEY_ID STATE local xaes-256-gcm created TIME changed TIME canary HEX wrapped HEX`.
func (k *keyring) parseVersion(words []string, wrapping []byte) error {
	v := keyVersion{keyID: words[1], state: words[2], canary: unhex(words[10])}
	subject := k.subject(len(k.versions) + 1)
	check := keyCheck(subject, v.canary)
	if v.keyID != fmt.Sprintf("kw1.%x.%d.%x", k.id, len(k.versions)+1, check) {
		return fmt.Errorf("key_id %q does not fit its canary", v.keyID)
	}
	v.header = append(append([]byte{'K', 'W', 1}, subject...), check...)
	var err error
	if v.kek, err = xaesOpen(wrapping, unhex(words[12]), []byte("keywright KEK 1"+v.keyID)); err != nil {
		return fmt.Errorf("KEK of %s: %w", v.keyID, err)
	}
	plain, err := xaesOpen(v.kek, v.canary, append([]byte(canaryDomain), subject...))
	if err != nil || string(plain) != canaryText {
		return fmt.Errorf("canary of %s: %v", v.keyID, err)
	}
	k.versions = append(k.versions, v)
	return nil
}

// text is the keyring file.
func (k *keyring) text() (string, error) {
	wrapping, err := k.derive(wrapLabel)
	if err != nil {
		return "", err
	}
	coordination, err := xaesSeal(wrapping, k.coordination, k.coordinationData())
	if err != nil {
		return "", err
	}
	var out strings.Builder
	fmt.Fprintf(&out, "keywright-keyring 1\n%s\n%s\nkeyring %x\ngeneration 1\nhold 0\nnodes\ncoordination %x\n", advice, warning, k.id, coordination)
	fmt.Fprintf(&out, "slot insecure-development %x\n", k.root)
	for _, v := range k.versions {
		fmt.Fprintf(&out, "version %s %s local xaes-256-gcm created %s changed %s canary %x", v.keyID, v.state, made, made, v.canary)
		if v.state != "destroyed" {
			wrapped, err := xaesSeal(wrapping, v.kek, []byte("keywright KEK 1"+v.keyID))
			if err != nil {
				return "", err
			}
			fmt.Fprintf(&out, " wrapped %x", wrapped)
		}
		out.WriteString("\n")
	}
	fmt.Fprintf(&out, "history 1 %s %x init\n", made, historyDigest([32]byte{}, 1, made, "init"))
	tag, err := k.tag(out.String())
	if err != nil {
		return "", err
	}
	fmt.Fprintf(&out, "hmac-sha256 %x\n", tag)
	return out.String(), nil
}

// tag authenticates everything above the last line.
func (k *keyring) tag(covered string) ([]byte, error) {
	authenticating, err := k.derive("keywright authenticate file 1")
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, authenticating)
	mac.Write([]byte(covered))
	return mac.Sum(nil), nil
}

func historyDigest(before [32]byte, generation uint64, at, what string) [32]byte {
	data := append([]byte("keywright history 1"), before[:]...)
	data = binary.BigEndian.AppendUint64(data, generation)
	return sha256.Sum256(append(data, at+what...))
}

func (k *keyring) coordinationData() []byte {
	return append([]byte("keywright coordination 1"), k.id[:]...)
}

// subject is what a canary belongs to.
func (k *keyring) subject(number int) []byte {
	return binary.BigEndian.AppendUint32(append([]byte{algorithm}, k.id[:]...), uint32(number))
}

func keyCheck(subject, canary []byte) []byte {
	check := sha256.Sum256(append(append([]byte("keywright check 1"), subject...), canary...))
	return check[:16]
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

// unhex decodes hexadecimal digits, or gives too few bytes for what follows to succeed.
func unhex(text string) []byte {
	bytes, _ := hex.DecodeString(text)
	return bytes
}
