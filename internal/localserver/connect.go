package localserver

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	maxRequestDER = 16 << 10
	minRSABits    = 2048
)

// ConnectSandbox issues a certificate for direct connections to one sandbox.
func (s *sandboxService) ConnectSandbox(ctx context.Context, req *sandboxv1.ConnectSandboxRequest) (*sandboxv1.SandboxConnection, error) {
	plane := s.plane()
	if plane == nil {
		return nil, notServedMethod("ConnectSandbox")
	}
	key, err := checkConnect(req)
	if err != nil {
		return nil, err
	}
	life, err := s.certificateLife(ctx, req.GetSandboxId())
	if err != nil {
		return nil, err
	}
	g := grant{sandbox: req.GetSandboxId(), caller: callerOf(ctx), permissions: s.granted(req.GetRequestedPermissions())}
	chain, end, err := plane.issue(g, key, life)
	if err != nil {
		return nil, err
	}
	return &sandboxv1.SandboxConnection{
		EndpointUri:               plane.uri,
		ClientCertificateChainPem: chain,
		ServerCaBundlePem:         plane.roots,
		ExpiresAt:                 timestamppb.New(end),
		EndpointId:                plane.id,
		Transport:                 sandboxv1.SandboxDataTransport_SANDBOX_DATA_TRANSPORT_DIRECT_MTLS,
		Protocol:                  sandboxv1.SandboxDataProtocol_SANDBOX_DATA_PROTOCOL_CONNECT_H2_V1,
		GrantedPermissions:        g.permissions,
	}, nil
}

// checkConnect checks a request and returns the key that it is for.
func checkConnect(req *sandboxv1.ConnectSandboxRequest) (key any, err error) {
	var c checker
	c.require(req.GetSandboxId() != "", "sandbox_id", "must not be empty")
	key, fault := requestedKey(req.GetCsrDer())
	c.require(fault == "", "csr_der", "%s", fault)
	c.require(len(req.GetRequestedPermissions()) > 0, "requested_permissions", "must not be empty")
	for _, p := range req.GetRequestedPermissions() {
		_, known := sandboxv1.SandboxDataPermission_name[int32(p)]
		c.require(known && p != 0, "requested_permissions", "must not hold %v", p)
	}
	return key, c.err()
}

// requestedKey takes the public key, and nothing else, out of a certificate request that its owner has signed.
func requestedKey(der []byte) (key any, fault string) {
	if len(der) > maxRequestDER {
		return nil, "must not be longer than 16 KiB"
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, "must be one PKCS#10 request in DER"
	}
	if csr.CheckSignature() != nil {
		return nil, "must be signed with its own key"
	}
	if !acceptable(csr.PublicKey) {
		return nil, "must be for a key of ECDSA P-256 or P-384, Ed25519, or RSA of 2048 bits or more"
	}
	return csr.PublicKey, ""
}

func acceptable(key any) bool {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		return key.Curve == elliptic.P256() || key.Curve == elliptic.P384()
	case *rsa.PublicKey:
		return key.N.BitLen() >= minRSABits
	case ed25519.PublicKey:
		return true
	}
	return false
}

// certificateLife is how long a certificate for the sandbox may live: not longer than the sandbox itself.
func (s *Server) certificateLife(ctx context.Context, id string) (time.Duration, error) {
	s.store.Lock()
	defer s.store.Unlock()
	r := s.store.find(id, callerOf(ctx))
	switch {
	case r == nil:
		return 0, gone(id)
	case r.state != running:
		return 0, notRunning(id, r.state, "")
	}
	return min(s.opt.CertLifetime, r.create.Add(r.lifetime).Sub(s.now())), nil
}

// granted leaves out what this server denies, and repeats.
func (s *Server) granted(requested []sandboxv1.SandboxDataPermission) []sandboxv1.SandboxDataPermission {
	var granted []sandboxv1.SandboxDataPermission
	for _, p := range requested {
		if !slices.Contains(granted, p) && !slices.Contains(s.opt.DeniedDataPermissions, p) {
			granted = append(granted, p)
		}
	}
	return granted
}
