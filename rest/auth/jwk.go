package auth

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// algorithms are the ways to sign that may be allowed (RFC 7518, section 3, and RFC 8037).
func algorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{
		jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
		jose.HS256, jose.HS384, jose.HS512,
	}
}

// fits tells whether the key may be the one that a token's header speaks of.
func fits(k jose.JSONWebKey, head jose.Header) bool {
	return (head.KeyID == "" || k.KeyID == "" || k.KeyID == head.KeyID) && (k.Algorithm == "" || k.Algorithm == head.Algorithm)
}

// The smallest keys: of RSA in bits, of secrets in bytes (RFC 7518, sections 3.2 and 3.3).
const (
	minRSABits     = 2048
	minSecretBytes = 32
	minExponent    = 3
)

// parseKeys reads a JWKS document (RFC 7517, section 5), or PEM with public keys or
// certificates.
func parseKeys(data []byte) (keys []jose.JSONWebKey, err error) {
	if bytes.Contains(data, []byte("-----BEGIN")) {
		keys, err = pemKeys(data)
	} else {
		keys, err = jwks(data)
	}
	if err == nil && len(keys) == 0 {
		err = errors.New("it holds no key that could verify a signature")
	}
	for _, k := range keys {
		err = errors.Join(err, checkKey(k.Key))
	}
	return keys, err
}

func checkKey(key any) error {
	switch key := key.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minRSABits {
			return fmt.Errorf("an RSA key has %d bits, and %d are too few", bits, minRSABits-1)
		}
		if key.E < minExponent {
			return errors.New("the exponent of an RSA key is of no use")
		}
	case []byte:
		if len(key) < minSecretBytes {
			return fmt.Errorf("a secret has at least %d bytes", minSecretBytes)
		}
	}
	return nil
}

func pemKeys(data []byte) (keys []jose.JSONWebKey, err error) {
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return keys, nil
		}
		var key any
		switch block.Type {
		case "PUBLIC KEY":
			key, err = x509.ParsePKIXPublicKey(block.Bytes)
		case "CERTIFICATE":
			var c *x509.Certificate
			if c, err = x509.ParseCertificate(block.Bytes); err == nil {
				key = c.PublicKey
			}
		default:
			err = fmt.Errorf("%s is no public key", block.Type)
		}
		if err != nil {
			return nil, err
		}
		keys = append(keys, jose.JSONWebKey{Key: key})
	}
}

// jwks reads those keys of a document that verify signatures here. One of another kind or
// for another purpose is passed over.
func jwks(data []byte) (keys []jose.JSONWebKey, err error) {
	var document struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &document); err != nil {
		return nil, errors.New("it is neither PEM nor a JWKS document")
	}
	for i, raw := range document.Keys {
		var about struct {
			Type  string   `json:"kty"`
			Curve string   `json:"crv"`
			Use   string   `json:"use"`
			Ops   []string `json:"key_ops"`
		}
		if err := json.Unmarshal(raw, &about); err != nil {
			return nil, fmt.Errorf("key %d of the document: %w", i+1, err)
		}
		known := slices.Contains([]string{"RSA", "oct", "EC P-256", "EC P-384", "EC P-521", "OKP Ed25519"}, join(about.Type, about.Curve))
		if !known || about.Use != "" && about.Use != "sig" || about.Ops != nil && !slices.Contains(about.Ops, "verify") {
			continue
		}
		var key jose.JSONWebKey
		if err := key.UnmarshalJSON(raw); err != nil {
			return nil, fmt.Errorf("key %d of the document: %w", i+1, err)
		}
		if _, secret := key.Key.([]byte); !secret && !key.IsPublic() {
			return nil, fmt.Errorf("key %d of the document is a private one, which only the issuer may have", i+1)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// join names a kind of keys, with its curve where there is one.
func join(kind, curve string) string {
	if curve == "" {
		return kind
	}
	return kind + " " + curve
}
