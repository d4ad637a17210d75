// Package sandboxv1 holds the messages and gRPC stubs of coreweave.sandbox.v1, the wire contract
// of CoreWeave Sandbox.
//
// # Errors
//
// A failed call carries a google.rpc.Status with ErrorInfo, whose reason is one of the
// CWSANDBOX_ words named in the comments here and whose domain is cwsandbox.com. RetryInfo and
// BadRequest are added where they apply. "Rejected" always means that the call fails; a request is
// never repaired silently. What is declared here but not served for an organization answers
// UNIMPLEMENTED with CWSANDBOX_NOT_IMPLEMENTED. Errors inside a stream (ExecStreamError,
// LogStreamError) have short codes of their own, and the call around them ends with OK.
//
// # Presence
//
// A list or map that is empty cannot be told from one that was never set, so an override cannot
// empty a template's list. A message that is set but empty counts as set. The zero of every enum
// means "not set". Servers may be newer than this contract, so readers must accept fields and enum
// numbers that they do not know.
//
// # Idempotency
//
// A request_id is an optional token chosen by the caller. A request that is repeated, unchanged and
// with its token, has the outcome of the first one instead of doing the work twice.
//
// # Paging
//
// A list answers one page at a time. The caller sends next_page_token back, unchanged, as
// page_token until it comes back empty. How large a page is when page_size is 0 is the service's
// choice.
package sandboxv1
