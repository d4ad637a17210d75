package cwsandbox

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/cwsandbox/cwsandbox-go/internal/transport"
)

const (
	defaultBaseURL         = "https://api.cwsandbox.com"
	defaultControlPlaneURL = "https://api.coreweave.com" // serves templates; only beside the default base URL
)

// serverURL is where services are: a scheme, a host and a port.
type serverURL struct {
	host      string // without brackets, in lower case
	port      int
	plaintext bool
}

// parseServerURL reads a base URL. The error does not repeat what may be secret.
func parseServerURL(raw string) (serverURL, error) {
	raw = strings.TrimSpace(raw)
	if strings.Contains(raw, "@") { // what stands before it is not for error messages
		return serverURL{}, errors.New("must not contain a user or password")
	}
	scheme, rest, found := strings.Cut(raw, "://")
	if !found {
		return serverURL{}, schemeError(raw)
	}
	u := serverURL{port: 443}
	switch strings.ToLower(scheme) {
	case "https":
	case "http":
		u.plaintext, u.port = true, 80
	default:
		return serverURL{}, fmt.Errorf("the scheme must be https or http, not %q", scheme)
	}
	if strings.ContainsAny(rest, "?#") { // may hold a token
		return serverURL{}, errors.New("must not have a query or a fragment")
	}
	authority, path, _ := strings.Cut(rest, "/")
	if path = strings.Trim(path, "/"); path != "" {
		return serverURL{}, fmt.Errorf("must not have a path, has %q", "/"+path)
	}
	return u.withAuthority(authority)
}

// schemeError asks for a scheme, and proposes one where the rest is host:port.
func schemeError(raw string) error {
	const text = "must begin with https:// (or http:// to this machine)"
	if _, _, err := net.SplitHostPort(raw); err == nil {
		if _, err := parseServerURL("https://" + raw); err == nil {
			return fmt.Errorf("%s: did you mean https://%s?", text, raw)
		}
	}
	return errors.New(text)
}

// withAuthority reads host and port.
func (u serverURL) withAuthority(authority string) (serverURL, error) {
	parsed, err := url.Parse("//" + authority)
	if err != nil || parsed.Host != authority {
		return serverURL{}, errors.New("the host or the port cannot be read")
	}
	u.host = strings.ToLower(parsed.Hostname())
	switch {
	case u.host == "":
		return serverURL{}, errors.New("the host is missing")
	case strings.Contains(u.host, ":") && !strings.HasPrefix(authority, "["):
		return serverURL{}, errors.New("the host is an IPv6 address without brackets")
	}
	if port := parsed.Port(); port != "" || strings.HasSuffix(authority, ":") {
		u.port, err = strconv.Atoi(port)
		if err != nil || u.port < 1 || u.port > 65535 {
			return serverURL{}, fmt.Errorf("the port must be a number from 1 to 65535, not %q", port)
		}
	}
	return u, nil
}

// loopback reports whether the host is this machine by its name: no name is looked up.
func (u serverURL) loopback() bool {
	if u.host == "localhost" || strings.HasSuffix(u.host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(u.host)
	return err == nil && addr.IsLoopback()
}

func (u serverURL) endpoint() transport.Endpoint {
	return transport.Endpoint{Target: net.JoinHostPort(u.host, strconv.Itoa(u.port)), Plaintext: u.plaintext}
}

// String returns the URL in its shortest form.
func (u serverURL) String() string {
	scheme, standard := "https", 443
	if u.plaintext {
		scheme, standard = "http", 80
	}
	host := u.host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if u.port != standard {
		host += ":" + strconv.Itoa(u.port)
	}
	return scheme + "://" + host
}
