//go:build kafka

package worker

import (
	"bufio"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
)

// askingBroker is an Apache Kafka with a listener for each way of asking clients who they are.
type askingBroker struct {
	t                        *testing.T
	papers                   *papers
	dir, classes             string
	controller, inner        string
	encrypted, clear, mutual string
	tokens                   *httptest.Server // Gives tokens that the broker believes.
	key                      *rsa.PrivateKey
}

const (
	askedUser     = "worker"
	askedPassword = "pass word=1"
)

// startAsking starts the broker with the jars that the script beside internal/testenv/kafka
// has resolved.
func startAsking(t *testing.T) *askingBroker {
	t.Helper()
	b := &askingBroker{t: t, papers: newPapers(t), dir: t.TempDir(), classes: os.Getenv("TIDEMILL_TEST_KAFKA_CLASSES")}
	if b.classes == "" {
		t.Skip("the broker is one of your own: this test configures one of Apache Kafka's jars")
	}
	b.controller, b.inner, b.encrypted, b.clear, b.mutual = free(t), free(t), free(t), free(t), free(t)
	b.issueTokens()
	java := func(heap string, args ...string) *exec.Cmd {
		allowed := "-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=file:" + filepath.Join(b.dir, "keys.json")
		return exec.CommandContext(t.Context(), "java", append([]string{heap, "-XX:TieredStopAtLevel=1", allowed, "-cp", b.classes}, args...)...)
	}
	settings := filepath.Join(b.dir, "server.properties")
	must(t, os.WriteFile(settings, []byte(b.properties()), 0o600))
	format := java("-Xmx256m", "kafka.tools.StorageTool", "format", "--cluster-id", "MkU3OEVBNTcwNTJENDM2Qg", "--config", settings)
	for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
		format.Args = append(format.Args, "--add-scram", fmt.Sprintf("%s=[name=%s,password=%s]", mechanism, askedUser, askedPassword))
	}
	if out, err := format.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	server := java("-Xmx512m", "kafka.Kafka", settings)
	out, err := server.StdoutPipe()
	must(t, err)
	server.Stderr = server.Stdout
	must(t, server.Start())
	t.Cleanup(func() { server.Process.Kill(); server.Wait() })
	var said strings.Builder
	for lines := bufio.NewScanner(out); ; {
		if !lines.Scan() {
			t.Fatalf("the broker did not start: %s", said.String())
		}
		said.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), "Kafka Server started") {
			break
		}
	}
	go io.Copy(io.Discard, out)
	return b
}

// free returns an address that nobody listens at.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

func (b *askingBroker) properties() string {
	store, trusted := filepath.Join(b.dir, "broker.pem"), filepath.Join(b.dir, "authority.pem")
	must(b.t, os.WriteFile(store, []byte(b.papers.sign("127.0.0.1")), 0o600))
	must(b.t, os.WriteFile(trusted, []byte(b.papers.trusted()), 0o600))
	const module = "org.apache.kafka.common.security."
	scram := module + "scram.ScramLoginModule required;"
	lines := []string{
		"process.roles=broker,controller", "node.id=1", "controller.quorum.voters=1@" + b.controller,
		fmt.Sprintf("listeners=CONTROLLER://%s,INNER://%s,ENCRYPTED://%s,CLEAR://%s,MUTUAL://%s", b.controller, b.inner, b.encrypted, b.clear, b.mutual),
		"listener.security.protocol.map=CONTROLLER:PLAINTEXT,INNER:PLAINTEXT,ENCRYPTED:SASL_SSL,CLEAR:SASL_PLAINTEXT,MUTUAL:SSL",
		"controller.listener.names=CONTROLLER", "inter.broker.listener.name=INNER", "log.dirs=" + filepath.Join(b.dir, "data"),
		"offsets.topic.replication.factor=1", "offsets.topic.num.partitions=1", "transaction.state.log.replication.factor=1",
		"transaction.state.log.min.isr=1", "transaction.state.log.num.partitions=1", "group.initial.rebalance.delay.ms=0",
		"ssl.keystore.type=PEM", "ssl.keystore.location=" + store, "ssl.truststore.type=PEM", "ssl.truststore.location=" + trusted,
		"listener.name.mutual.ssl.client.auth=required",
		"listener.name.encrypted.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
		fmt.Sprintf(`listener.name.encrypted.plain.sasl.jaas.config=%splain.PlainLoginModule required user_%s="%s";`, module, askedUser, askedPassword),
		"listener.name.encrypted.scram-sha-256.sasl.jaas.config=" + scram, "listener.name.encrypted.scram-sha-512.sasl.jaas.config=" + scram,
		"listener.name.encrypted.oauthbearer.sasl.jaas.config=" + module + "oauthbearer.OAuthBearerLoginModule required;",
		"listener.name.encrypted.oauthbearer.sasl.server.callback.handler.class=" + module + "oauthbearer.OAuthBearerValidatorCallbackHandler",
		"sasl.oauthbearer.jwt.validator.class=" + module + "oauthbearer.BrokerJwtValidator",
		"sasl.oauthbearer.jwks.endpoint.url=file:" + filepath.Join(b.dir, "keys.json"),
		"listener.name.clear.sasl.enabled.mechanisms=SCRAM-SHA-512", "listener.name.clear.scram-sha-512.sasl.jaas.config=" + scram,
	}
	return strings.Join(lines, "\n") + "\n"
}

// issueTokens has an endpoint give signed tokens (RFC 7519, RS256) to who shows the right
// secret, and writes the key that the broker checks them with (RFC 7517).
func (b *askingBroker) issueTokens() {
	var err error
	b.key, err = rsa.GenerateKey(rand.Reader, 2048)
	must(b.t, err)
	number := func(n *big.Int) string { return base64.RawURLEncoding.EncodeToString(n.Bytes()) }
	keys := fmt.Sprintf(`{"keys":[{"kty":"RSA","kid":"one","use":"sig","alg":"RS256","n":%q,"e":%q}]}`, number(b.key.N), number(big.NewInt(int64(b.key.E))))
	must(b.t, os.WriteFile(filepath.Join(b.dir, "keys.json"), []byte(keys), 0o600))
	b.tokens = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != askedUser || password != askedPassword {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":600}`, b.token(b.key))
	}))
	b.t.Cleanup(b.tokens.Close)
}

// token returns a token that is signed with a key.
func (b *askingBroker) token(key *rsa.PrivateKey) string {
	claims, err := json.Marshal(map[string]any{"sub": askedUser, "iat": time.Now().Unix(), "exp": time.Now().Add(10 * time.Minute).Unix()})
	must(b.t, err)
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256","kid":"one"}`)) + "." + base64.RawURLEncoding.EncodeToString(claims)
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	must(b.t, err)
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// trusted are the authorities of the broker and of the endpoint that gives tokens.
func (b *askingBroker) trusted() string {
	return b.papers.trusted() + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b.tokens.Certificate().Raw}))
}

// TestApacheKafkaAsks has workers show an Apache Kafka who they are, in each way it knows,
// and be refused when they are somebody else.
func TestApacheKafkaAsks(t *testing.T) {
	b := startAsking(t)
	own := filepath.Join(b.dir, "own.pem")
	must(t, os.WriteFile(own, []byte(b.papers.sign("127.0.0.1")), 0o600))
	login := func(user, password string) string { return loginAs(user, strings.ReplaceAll(password, `"`, `\"`)) }
	encrypted := connect.Config{"security.protocol": "SASL_SSL", "ssl.truststore.certificates": b.trusted(), "sasl.jaas.config": login(askedUser, askedPassword)}
	oauth := func(jaas, endpoint string) connect.Config {
		c := with(encrypted, "sasl.mechanism", "OAUTHBEARER", "sasl.jaas.config", "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required "+jaas+";")
		if endpoint != "" {
			c["sasl.oauthbearer.token.endpoint.url"] = endpoint
		}
		return c
	}
	credentials := fmt.Sprintf(`clientId="%s" clientSecret="%s"`, askedUser, askedPassword)
	mutual := connect.Config{"security.protocol": "SSL", "ssl.truststore.certificates": b.papers.trusted(), "ssl.keystore.location": own, "ssl.keystore.type": "PEM"}
	clear := with(encrypted, "security.protocol", "SASL_PLAINTEXT", "sasl.mechanism", "SCRAM-SHA-512")
	for name, tt := range map[string]struct {
		brokers  string
		settings connect.Config
	}{
		"plain":     {b.encrypted, with(encrypted, "sasl.mechanism", "PLAIN")},
		"scram-256": {b.encrypted, with(encrypted, "sasl.mechanism", "SCRAM-SHA-256")},
		"scram-512": {b.encrypted, with(encrypted, "sasl.mechanism", "SCRAM-SHA-512")},
		"clear":     {b.clear, clear},
		"endpoint":  {b.encrypted, oauth(credentials, b.tokens.URL)},
		"token":     {b.encrypted, oauth(fmt.Sprintf(`token="%s"`, b.token(b.key)), "")},
		"mutual":    {b.mutual, mutual},
	} {
		t.Run(name, func(t *testing.T) { letIn(t, tt.settings, []string{tt.brokers}, "asked-"+name) })
	}
	stranger := newPapers(t)
	forged, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	foreign := filepath.Join(b.dir, "foreign.pem")
	must(t, os.WriteFile(foreign, []byte(stranger.sign("127.0.0.1")), 0o600))
	for name, tt := range map[string]struct {
		brokers, want string
		settings      connect.Config
	}{
		"another password":            {b.encrypted, "SASL_AUTHENTICATION_FAILED", with(encrypted, "sasl.mechanism", "PLAIN", "sasl.jaas.config", login(askedUser, "wrong-4711"))},
		"another password, scrambled": {b.encrypted, "SASL_AUTHENTICATION_FAILED", with(encrypted, "sasl.mechanism", "SCRAM-SHA-512", "sasl.jaas.config", login(askedUser, "wrong-4711"))},
		"a way that is not offered":   {b.clear, "UNSUPPORTED_SASL_MECHANISM", with(clear, "sasl.mechanism", "SCRAM-SHA-256")},
		"a forged token":              {b.encrypted, "oauth", oauth(fmt.Sprintf(`token="%s"`, b.token(forged)), "")},
		"another's certificate":       {b.mutual, "certificate", with(mutual, "ssl.keystore.location", foreign)},
		"a broker not trusted":        {b.encrypted, "unknown authority", with(encrypted, "sasl.mechanism", "PLAIN", "ssl.truststore.certificates", stranger.trusted())},
	} {
		opts, err := ClientOptions(with(tt.settings, "bootstrap.servers", tt.brokers))
		must(t, err)
		client, err := kgo.NewClient(append(opts, kgo.RequestRetries(0))...)
		must(t, err)
		err = client.Ping(t.Context())
		client.Close()
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "4711") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
