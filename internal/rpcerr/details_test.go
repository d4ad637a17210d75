package rpcerr

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

func pack(t testing.TB, m proto.Message) *anypb.Any {
	t.Helper()
	detail, err := anypb.New(m)
	require.NoError(t, err)
	return detail
}

// entry is one value of the details trailer.
func entry(t testing.TB, code codes.Code, details ...*anypb.Any) string {
	t.Helper()
	wire, err := proto.Marshal(&spb.Status{Code: int32(code), Message: "no", Details: details})
	require.NoError(t, err)
	return string(wire)
}

func trailer(entries ...string) metadata.MD { return metadata.MD{detailsKey: entries} }

func reason(t testing.TB, domain, reason string) *anypb.Any {
	t.Helper()
	return pack(t, &errdetails.ErrorInfo{Reason: reason, Domain: domain, Metadata: map[string]string{"sandbox_id": "sb-1"}})
}

func delay(t testing.TB, d *durationpb.Duration) *anypb.Any {
	t.Helper()
	return pack(t, &errdetails.RetryInfo{RetryDelay: d})
}

func badRequest(t testing.TB, violations ...*errdetails.BadRequest_FieldViolation) *anypb.Any {
	t.Helper()
	return pack(t, &errdetails.BadRequest{FieldViolations: violations})
}

func TestDecode(t *testing.T) {
	found := reason(t, Domain, ReasonSandboxNotFound)

	t.Run("K-123", func(t *testing.T) {
		d := Decode(trailer(entry(t, codes.Internal, found)))
		assert.Equal(t, ReasonSandboxNotFound, d.Reason)
		assert.Equal(t, map[string]string{"sandbox_id": "sb-1"}, d.Metadata)
		assert.True(t, d.Trusted())
		assert.True(t, d.Decides())
	})
	t.Run("K-124", func(t *testing.T) {
		d := Decode(trailer(entry(t, codes.Internal, reason(t, "example.com", ReasonSandboxNotFound))))
		assert.Equal(t, ReasonSandboxNotFound, d.Reason)
		assert.Equal(t, "example.com", d.Domain)
		assert.False(t, d.Trusted())
		assert.False(t, d.Decides())
	})
	t.Run("K-125", func(t *testing.T) {
		assert.False(t, Decode(trailer(entry(t, codes.Internal, reason(t, "CWSANDBOX.COM", ReasonSandboxNotFound)))).Trusted())
	})
	t.Run("K-126", func(t *testing.T) {
		d := Decode(trailer("\xff\xff\xff", entry(t, codes.NotFound, found)))
		assert.Equal(t, ReasonSandboxNotFound, d.Reason)
	})
	t.Run("K-127", func(t *testing.T) {
		d := Decode(trailer(entry(t, codes.Unavailable, found), entry(t, codes.Unavailable, delay(t, durationpb.New(2*time.Second)))))
		assert.Equal(t, ReasonSandboxNotFound, d.Reason)
		assert.Equal(t, 2*time.Second, d.RetryDelay)
	})
	t.Run("K-129", func(t *testing.T) {
		d := Decode(trailer(entry(t, codes.NotFound, reason(t, Domain, ""), found)))
		assert.Equal(t, ReasonSandboxNotFound, d.Reason)
	})
	t.Run("K-130", func(t *testing.T) {
		d := Decode(trailer(entry(t, codes.Unavailable, delay(t, nil), delay(t, durationpb.New(3*time.Second)))))
		assert.True(t, d.HasRetryDelay)
		assert.Equal(t, 3*time.Second, d.RetryDelay)
	})
	t.Run("K-131", func(t *testing.T) {
		for _, row := range []struct {
			delay   *durationpb.Duration
			want    time.Duration
			present bool
		}{
			{durationpb.New(0), 0, true},
			{durationpb.New(-3 * time.Second), -3 * time.Second, true},
			{&durationpb.Duration{Seconds: 1e18}, 0, false},
			{&durationpb.Duration{Seconds: 1, Nanos: -1}, 0, false},
		} {
			d := Decode(trailer(entry(t, codes.Unavailable, delay(t, row.delay), found)))
			assert.Equal(t, row.want, d.RetryDelay)
			assert.Equal(t, row.present, d.HasRetryDelay)
			assert.Equal(t, ReasonSandboxNotFound, d.Reason, "the rest is kept")
		}
	})
	t.Run("K-132", func(t *testing.T) {
		d := Decode(trailer(
			entry(t, codes.InvalidArgument,
				badRequest(t, &errdetails.BadRequest_FieldViolation{Field: "a", Description: "1"}),
				badRequest(t, &errdetails.BadRequest_FieldViolation{}, &errdetails.BadRequest_FieldViolation{Field: "b", Description: "2"})),
			entry(t, codes.InvalidArgument, badRequest(t, &errdetails.BadRequest_FieldViolation{Field: "c", Description: "3"})),
		))
		assert.Equal(t, []Violation{{"a", "1"}, {"b", "2"}, {"c", "3"}}, d.Violations)
	})
	t.Run("K-133", func(t *testing.T) {
		d := Decode(trailer(entry(t, codes.InvalidArgument, badRequest(t,
			&errdetails.BadRequest_FieldViolation{Field: "a", Reason: "r", LocalizedMessage: &errdetails.LocalizedMessage{Message: "m"}},
			&errdetails.BadRequest_FieldViolation{Field: "b", Reason: "r"},
		))))
		assert.Equal(t, []Violation{{"a", "m"}, {"b", "r"}}, d.Violations)
	})
	t.Run("K-134", func(t *testing.T) {
		broken := &anypb.Any{TypeUrl: found.TypeUrl, Value: []byte{0xff}}
		d := Decode(trailer(entry(t, codes.NotFound, broken, found, delay(t, durationpb.New(time.Second)))))
		assert.Equal(t, ReasonSandboxNotFound, d.Reason)
		assert.Equal(t, time.Second, d.RetryDelay)
	})
	t.Run("K-135", func(t *testing.T) {
		found := proto.CloneOf(found)
		found.TypeUrl = "type.googleapis.com/xgoogle.rpc.ErrorInfo"
		assert.Empty(t, Decode(trailer(entry(t, codes.NotFound, found))).Reason)
		found.TypeUrl = "other.example/google.rpc.ErrorInfo"
		assert.NotEmpty(t, Decode(trailer(entry(t, codes.NotFound, found))).Reason)
	})
	t.Run("K-136", func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 2))
		for range 1000 {
			noise := make([]byte, random.IntN(64))
			for i := range noise {
				noise[i] = byte(random.Uint32())
			}
			e := New(t.Context(), "/s/m", status.Error(codes.NotFound, "gone"), trailer(string(noise)))
			assert.Equal(t, codes.NotFound, status.Code(e))
		}
	})
	t.Run("K-137", func(t *testing.T) {
		md := trailer(entry(t, codes.NotFound, found))
		Decode(md).Metadata["sandbox_id"] = "changed"
		assert.Equal(t, "sb-1", Decode(md).Metadata["sandbox_id"])
	})
	t.Run("nothing", func(t *testing.T) {
		assert.Equal(t, Details{}, Decode(nil))
		assert.Equal(t, Details{}, Decode(trailer("")))
	})
}

func TestDetailsOfAnErrorWithoutTrailer(t *testing.T) {
	st, err := status.New(codes.Unavailable, "no").WithDetails(&errdetails.ErrorInfo{Reason: ReasonBackendUnavailable, Domain: Domain})
	require.NoError(t, err)
	assert.Equal(t, ReasonBackendUnavailable, New(t.Context(), "/s/m", st.Err(), nil).Reason)
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(nil), []byte{0xff})
	f.Add([]byte(entry(f, codes.NotFound, reason(f, Domain, ReasonSandboxNotFound))), []byte{0x0a})
	f.Add([]byte(entry(f, codes.Unavailable, delay(f, durationpb.New(time.Second)))), []byte{})
	f.Add([]byte(entry(f, codes.InvalidArgument, badRequest(f, &errdetails.BadRequest_FieldViolation{Field: "a"}))), []byte{8, 1})
	good := entry(f, codes.NotFound, reason(f, Domain, ReasonSandboxNotFound))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		d := Decode(trailer(string(first), string(second), good))
		if d.Reason == "" {
			t.Errorf("%q, %q hide a good entry", first, second)
		}
		if !d.HasRetryDelay && d.RetryDelay != 0 {
			t.Errorf("delay %v without its mark", d.RetryDelay)
		}
		for _, v := range d.Violations {
			if v == (Violation{}) {
				t.Error("empty violation kept")
			}
		}
	})
}
