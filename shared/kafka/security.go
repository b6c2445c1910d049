package kafka

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/IBM/sarama"
	"github.com/xdg-go/scram"
)

// Secret is a text that is never printed: formatting, logging and encoding it show that there is one, not what it is. string(s) is the text.
type Secret string

const hidden = "(secret)"

// String implements fmt.Stringer.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return hidden
}

// Format implements fmt.Formatter, for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) } // fmt reports what its own writer cannot take

// MarshalText implements encoding.TextMarshaler.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Security is how Kafka's brokers are reached: TLS, a certificate of our own, a user and password. Its tags are those of the functions' settings; the zero value is a connection without
// any of it. It goes for all brokers of a function, those that URLs name included.
//
// Files are read at each new connection (the password also where a broker asks for it again, connections.max.reauth.ms), so what changes in them (a certificate that is renewed, a Secret that
// Kubernetes mounts) is used without a restart. Connections that are open stay open: a broker does not end them when a certificate or password does. One that cannot be read is an outage.
type Security struct {
	TLS          bool   `envconfig:"KAFKA_TLS" desc:"true: TLS to all Kafka brokers"`
	CAFile       string `envconfig:"KAFKA_CA_FILE" desc:"certificates (PEM) to trust in place of the system's; this and all files below are read at each connection"`
	CertFile     string `envconfig:"KAFKA_CERT_FILE" desc:"the function's own certificate (PEM), where brokers ask for one"`
	KeyFile      string `envconfig:"KAFKA_KEY_FILE" desc:"its private key (PEM)"`
	ServerName   string `envconfig:"KAFKA_SERVER_NAME" desc:"the name in the brokers' certificates where it is not the host's"`
	Mechanism    string `envconfig:"KAFKA_SASL_MECHANISM" desc:"PLAIN (sends the password as it is: use TLS), SCRAM-SHA-256 or SCRAM-SHA-512; empty: no user"`
	User         string `envconfig:"KAFKA_USER" desc:"who the function is to the brokers"`
	PasswordFile string `envconfig:"KAFKA_PASSWORD_FILE" desc:"a file that holds the password; white space around it does not count"`
	Password     Secret `envconfig:"KAFKA_PASSWORD" desc:"in place of the file; secret"`
}

// Validate joins what cannot be, files that are not there or hold nothing of use included, without any secret.
func (s Security) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	for _, v := range []struct{ name, value string }{
		{"KAFKA_CA_FILE", s.CAFile}, {"KAFKA_CERT_FILE", s.CertFile}, {"KAFKA_KEY_FILE", s.KeyFile}, {"KAFKA_SERVER_NAME", s.ServerName},
	} {
		check(s.TLS || v.value == "", "%s needs KAFKA_TLS=true", v.name)
	}
	check((s.CertFile == "") == (s.KeyFile == ""), "KAFKA_CERT_FILE and KAFKA_KEY_FILE belong together")
	switch s.Mechanism {
	case "":
		check(s.User == "" && s.PasswordFile == "" && s.Password == "", "KAFKA_USER, KAFKA_PASSWORD_FILE and KAFKA_PASSWORD need KAFKA_SASL_MECHANISM")
	case sarama.SASLTypePlaintext, sarama.SASLTypeSCRAMSHA256, sarama.SASLTypeSCRAMSHA512:
		check(s.User != "", "KAFKA_SASL_MECHANISM=%s needs KAFKA_USER", s.Mechanism)
		check((s.PasswordFile == "") != (s.Password == ""), "KAFKA_SASL_MECHANISM=%s needs one of KAFKA_PASSWORD_FILE and KAFKA_PASSWORD", s.Mechanism)
	default:
		check(false, "KAFKA_SASL_MECHANISM=%q: PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512 are known", s.Mechanism)
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	if s.TLS {
		_, err := s.tls("")
		errs = append(errs, err)
	}
	if s.PasswordFile != "" {
		_, err := s.password()
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Apply makes c's connections secure. It is a function as the options of this package take it: ProducerOptions{Config: s.Apply}.
func (s Security) Apply(c *sarama.Config) {
	if s.TLS || s.Mechanism == sarama.SASLTypePlaintext {
		// sarama's own TLS has one configuration for all connections, and its PLAIN one password.
		c.Net.Proxy.Enable, c.Net.Proxy.Dialer = true, &dialer{s, net.Dialer{Timeout: c.Net.DialTimeout, KeepAlive: c.Net.KeepAlive}}
	}
	if s.Mechanism == "" {
		return
	}
	c.Net.SASL.Enable, c.Net.SASL.Version = true, sarama.SASLHandshakeV1
	c.Net.SASL.Mechanism = sarama.SASLMechanism(s.Mechanism)
	c.Net.SASL.User, c.Net.SASL.Password = s.User, hidden // never sent: see authenticating and exchange
	c.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &exchange{security: s} }
}

// password returns the password as it is now.
func (s Security) password() (string, error) {
	if s.PasswordFile == "" {
		return string(s.Password), nil
	}
	b, err := os.ReadFile(s.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("reading the password of Kafka's user %s (KAFKA_PASSWORD_FILE): %w", s.User, err)
	}
	if b = bytes.TrimSpace(b); len(b) == 0 {
		return "", fmt.Errorf("the file %s of the password of Kafka's user %s (KAFKA_PASSWORD_FILE) is empty", s.PasswordFile, s.User)
	}
	return string(b), nil
}

// tls returns the configuration for a connection to host, from the files as they are now.
func (s Security) tls(host string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if s.ServerName != "" {
		c.ServerName = s.ServerName
	}
	if s.CAFile != "" {
		b, err := os.ReadFile(s.CAFile)
		if err != nil {
			return nil, fmt.Errorf("reading certificates to trust (KAFKA_CA_FILE): %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("no certificate in %s (KAFKA_CA_FILE), which must be PEM", s.CAFile)
		}
	}
	if s.CertFile == "" {
		return c, nil
	}
	own, err := tls.LoadX509KeyPair(s.CertFile, s.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("reading the own certificate and key (KAFKA_CERT_FILE, KAFKA_KEY_FILE): %w", err)
	}
	// Sent all the same when the broker's list of authorities lacks its own: its refusal says more than one for no certificate.
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return &own, ownValid(own.Leaf, s.CertFile)
	}
	return c, nil
}

// ownValid tells of a certificate of ours that is of no use now: brokers close the connection then, without a reason as a rule.
func ownValid(leaf *x509.Certificate, file string) error {
	now := time.Now()
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return fmt.Errorf("the own certificate in %s (KAFKA_CERT_FILE) is valid from %s to %s only",
			file, leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

// trustValid tells of certificates to trust that are of no use at this time: what they signed is refused as anybody's would be.
func (s Security) trustValid(now time.Time) error {
	if s.CAFile == "" {
		return nil
	}
	rest, err := os.ReadFile(s.CAFile)
	if err != nil {
		return fmt.Errorf("reading certificates to trust (KAFKA_CA_FILE): %w", err)
	}
	var errs []error
	for block, rest := pem.Decode(rest); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if block.Type == "CERTIFICATE" && err == nil && (now.Before(c.NotBefore) || now.After(c.NotAfter)) {
			errs = append(errs, fmt.Errorf("the certificate of %s in %s (KAFKA_CA_FILE) is valid from %s to %s only",
				c.Subject, s.CAFile, c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339)))
		}
	}
	return errors.Join(errs...)
}

// dialer connects as its security says at that moment.
type dialer struct {
	s   Security
	net net.Dialer
}

// Dial implements proxy.Dialer of golang.org/x/net, as sarama wants it.
func (d *dialer) Dial(network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), d.net.Timeout)
	defer cancel()
	var config *tls.Config
	if d.s.TLS {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, fmt.Errorf("address of a broker: %w", err)
		}
		if config, err = d.s.tls(host); err != nil {
			return nil, err
		}
	}
	conn, err := d.net.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if config != nil {
		secured := tls.Client(conn, config)
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("TLS with broker %s: %w", addr, err), d.s.trustValid(time.Now()), conn.Close())
		}
		conn = secured
	}
	if d.s.Mechanism == sarama.SASLTypePlaintext {
		conn = &authenticating{conn, d.s}
	}
	return conn, nil
}

// authenticating is a connection on which PLAIN's message has the password of now. sarama takes it from settings that all its connections share and that must not change,
// and writes each request by one Write.
type authenticating struct {
	net.Conn
	s Security
}

// Write implements net.Conn.
func (a *authenticating) Write(b []byte) (int, error) {
	header := authenticateHeader(b)
	if header == 0 {
		return a.Conn.Write(b)
	}
	password, err := a.s.password()
	if err != nil {
		return 0, err
	}
	message := []byte("\x00" + a.s.User + "\x00" + password)
	frame := append([]byte(nil), b[:header]...)
	if version := binary.BigEndian.Uint16(b[6:]); version >= 2 {
		frame = binary.AppendUvarint(frame, uint64(len(message))+1)
		frame = append(append(frame, message...), 0) // no tagged fields
	} else {
		frame = append(binary.BigEndian.AppendUint32(frame, uint32(len(message))), message...)
	}
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
	if _, err := a.Conn.Write(frame); err != nil {
		return 0, err
	}
	return len(b), nil
}

// authenticateHeader returns how long the length and header of b are where b is a SaslAuthenticate request (Kafka's protocol, key 36), else 0.
func authenticateHeader(b []byte) int {
	const key, fixed = 36, 4 + 2 + 2 + 4 + 2 // length; key, version, correlation id, length of the client's id
	if len(b) < fixed || int64(binary.BigEndian.Uint32(b)) != int64(len(b)-4) || binary.BigEndian.Uint16(b[4:]) != key {
		return 0
	}
	n := fixed + int(max(0, int16(binary.BigEndian.Uint16(b[fixed-2:])))) //nolint:gosec // an int16 on the wire, -1 for none
	if binary.BigEndian.Uint16(b[6:]) >= 2 {
		n++ // tagged fields: sarama sends none
	}
	if n > len(b) {
		return 0
	}
	return n
}

// exchange is one SCRAM exchange, with the password of its beginning.
type exchange struct {
	security Security
	*scram.ClientConversation
}

// Begin implements sarama.SCRAMClient.
func (e *exchange) Begin(user, _, authorization string) error {
	password, err := e.security.password()
	if err != nil {
		return err
	}
	hash := scram.SHA256
	if e.security.Mechanism == sarama.SASLTypeSCRAMSHA512 {
		hash = scram.SHA512
	}
	client, err := hash.NewClient(user, password, authorization)
	if err != nil {
		return errors.New("the user or password has characters that SASLprep (RFC 4013) forbids") // err may quote them
	}
	e.ClientConversation = client.WithMinIterations(4096).NewConversation() // RFC 7677, paragraph 4
	return nil
}

// Connect connects a client of sarama's to brokers (host:port). The caller closes it. The error names the user, where there is one, and no secret.
func Connect(brokers []string, c *sarama.Config) (sarama.Client, error) {
	client, err := sarama.NewClient(brokers, c)
	if err != nil {
		return nil, fmt.Errorf("connect to Kafka: %w", asUser(c, err))
	}
	return client, nil
}

// asUser adds as whom something failed: brokers say that somebody was refused, or close the connection without a word.
func asUser(c *sarama.Config, err error) error {
	if c.Net.SASL.Enable {
		return fmt.Errorf("as user %q by %s: %w", c.Net.SASL.User, c.Net.SASL.Mechanism, err)
	}
	return err
}
