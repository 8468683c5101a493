package postgres

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemill/tidemill/connect"
)

// identity puts the client's certificate into every way to the server that is
// encrypted. Keys may be PEM or DER, the form that the Java driver wants, and
// encrypted.
func (s *settings) identity(config *pgconn.Config) error {
	if s.cert == "" && s.key == "" {
		return nil
	}
	if s.cert == "" || s.key == "" {
		return certificateError("database.sslcert", "a certificate and its key belong together", nil, "give both database.sslcert and database.sslkey")
	}
	own, err := s.certificate()
	if err != nil {
		return err
	}
	configs := []*tls.Config{config.TLSConfig}
	for _, f := range config.Fallbacks {
		configs = append(configs, f.TLSConfig)
	}
	for _, c := range configs {
		if c != nil {
			c.Certificates = []tls.Certificate{own}
		}
	}
	return nil
}

// certificate reads the client's certificate and its key, anew for each connection,
// so that a renewed one is found.
func (s *settings) certificate() (tls.Certificate, error) {
	var none tls.Certificate
	text, err := os.ReadFile(s.cert)
	if err != nil {
		return none, certificateError("database.sslcert", "the certificate cannot be read", err, "name a file that the worker may read")
	}
	if !bytes.Contains(text, []byte("-----BEGIN")) {
		text = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: text})
	}
	key, err := os.ReadFile(s.key)
	if err != nil {
		return none, certificateError("database.sslkey", "the key cannot be read", err, "name a file that the worker may read")
	}
	_, password := s.secrets.now()
	if key, err = plainKey(key, password); err != nil {
		return none, certificateError("database.sslkey", "the key cannot be used", err, "check database.sslpassword; PEM and PKCS #8 are understood: openssl pkcs8 -topk8 -in <key> -out <file>")
	}
	own, err := tls.X509KeyPair(text, key)
	if err != nil {
		return none, certificateError("database.sslcert", "the certificate and the key do not go together", err, "check database.sslcert and database.sslkey")
	}
	return own, nil
}

func certificateError(place, message string, cause error, mend string) *connect.Error {
	e := fatal("pg.tls.certificate", message, cause, mend)
	e.Place = place
	return e
}

var (
	errKeyPassword = errors.New("it is encrypted, and the password does not fit")
	errKeyForm     = errors.New("it is neither PEM nor PKCS #8 in DER form")
	errKeyStore    = errors.New("it is a PKCS #12 store; take the parts out of it: openssl pkcs12 -in <store> -nodes")
)

// plainKey returns a key in PEM form that is not encrypted.
func plainKey(file []byte, password string) ([]byte, error) {
	block, _ := pem.Decode(file)
	for rest := file; block != nil && !bytes.HasSuffix([]byte(block.Type), []byte("PRIVATE KEY")); {
		block, rest = pem.Decode(rest) // Parameters may come before the key.
		if len(rest) == 0 {
			break
		}
	}
	switch {
	case block == nil:
		block = &pem.Block{Type: "PRIVATE KEY", Bytes: file}
		if isEncryptedKey(file) {
			block.Type = "ENCRYPTED PRIVATE KEY"
		}
	case x509.IsEncryptedPEMBlock(block): //nolint:staticcheck // The form is weak, and in use.
		der, err := x509.DecryptPEMBlock(block, []byte(password)) //nolint:staticcheck // As above.
		if err != nil {
			return nil, errKeyPassword
		}
		return pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: der}), nil
	}
	if block.Type == "ENCRYPTED PRIVATE KEY" {
		der, err := decryptKey(block.Bytes, password)
		if err != nil {
			return nil, err
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
	}
	if block.Type == "PRIVATE KEY" && !isKey(block.Bytes) {
		if isKeyStore(block.Bytes) {
			return nil, errKeyStore
		}
		return nil, errKeyForm
	}
	return pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes}), nil
}

func isKey(der []byte) bool {
	_, pkcs8 := x509.ParsePKCS8PrivateKey(der)
	_, pkcs1 := x509.ParsePKCS1PrivateKey(der)
	_, ec := x509.ParseECPrivateKey(der)
	return pkcs8 == nil || pkcs1 == nil || ec == nil
}
