package postgres

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"hash"
)

// encryptedKey is EncryptedPrivateKeyInfo of RFC 5958.
type encryptedKey struct {
	Algorithm pkix.AlgorithmIdentifier
	Data      []byte
}

// pbes2 and pbkdf2Params are the parameters of PBES2 and PBKDF2 of RFC 8018.
type pbes2 struct {
	Derivation, Encryption pkix.AlgorithmIdentifier
}

type pbkdf2Params struct {
	Salt       []byte
	Iterations int
	KeyLength  int                      `asn1:"optional"`
	PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
}

var (
	oidPBES2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
)

// keyHashes are the pseudo-random functions of PBKDF2, SHA-1 being the default.
func keyHashes() map[string]func() hash.Hash {
	return map[string]func() hash.Hash{
		"": sha1.New, "1.2.840.113549.2.7": sha1.New, "1.2.840.113549.2.9": sha256.New,
		"1.2.840.113549.2.10": sha512.New384, "1.2.840.113549.2.11": sha512.New,
	}
}

// keyCipher is a block cipher in CBC mode, with the length of its key.
type keyCipher struct {
	length int
	make   func([]byte) (cipher.Block, error)
}

func keyCiphers() map[string]keyCipher {
	return map[string]keyCipher{
		"2.16.840.1.101.3.4.1.2": {16, aes.NewCipher}, "2.16.840.1.101.3.4.1.22": {24, aes.NewCipher},
		"2.16.840.1.101.3.4.1.42": {32, aes.NewCipher}, "1.2.840.113549.3.7": {24, des.NewTripleDESCipher},
	}
}

var errKeyCipher = errors.New("it is encrypted in a way that is not understood; PBES2 with AES is: openssl pkcs8 -topk8 -v2 aes-256-cbc -in <key> -out <file>")

func isEncryptedKey(der []byte) bool {
	var info encryptedKey
	rest, err := asn1.Unmarshal(der, &info)
	return err == nil && len(rest) == 0 && len(info.Data) > 0
}

// isKeyStore tells whether something is PKCS #12: a sequence that begins with the
// version 3.
func isKeyStore(der []byte) bool {
	var store struct {
		Version int
		Content asn1.RawValue
		MAC     asn1.RawValue `asn1:"optional"`
	}
	_, err := asn1.Unmarshal(der, &store)
	return err == nil && store.Version == 3
}

// decryptKey decrypts a private key in the form of PKCS #8 (RFC 5958) that was
// encrypted with PBES2 (RFC 8018).
func decryptKey(der []byte, password string) ([]byte, error) {
	const mostIterations = 10_000_000 // A file is no reason to compute for ever.
	var info encryptedKey
	var scheme pbes2
	var params pbkdf2Params
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return nil, errKeyForm
	}
	if !info.Algorithm.Algorithm.Equal(oidPBES2) {
		return nil, errKeyCipher
	}
	if _, err := asn1.Unmarshal(info.Algorithm.Parameters.FullBytes, &scheme); err != nil || !scheme.Derivation.Algorithm.Equal(oidPBKDF2) {
		return nil, errKeyCipher
	}
	if _, err := asn1.Unmarshal(scheme.Derivation.Parameters.FullBytes, &params); err != nil || params.Iterations <= 0 || params.Iterations > mostIterations {
		return nil, errKeyCipher
	}
	digest, known := keyHashes()[params.PRF.Algorithm.String()]
	by, knownToo := keyCiphers()[scheme.Encryption.Algorithm.String()]
	if !known || !knownToo {
		return nil, errKeyCipher
	}
	var iv []byte
	if _, err := asn1.Unmarshal(scheme.Encryption.Parameters.FullBytes, &iv); err != nil {
		return nil, errKeyCipher
	}
	key, err := pbkdf2.Key(digest, password, params.Salt, params.Iterations, by.length)
	if err != nil {
		return nil, errKeyCipher
	}
	block, err := by.make(key)
	if err != nil || len(iv) != block.BlockSize() || len(info.Data) == 0 || len(info.Data)%block.BlockSize() != 0 {
		return nil, errKeyCipher
	}
	plain := make([]byte, len(info.Data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, info.Data)
	padding := int(plain[len(plain)-1])
	if padding == 0 || padding > block.BlockSize() || padding > len(plain) || !isKey(plain[:len(plain)-padding]) {
		return nil, errKeyPassword
	}
	return plain[:len(plain)-padding], nil
}
