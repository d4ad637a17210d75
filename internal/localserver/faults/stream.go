package faults

import (
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// recordedStream counts what passes and lets a rule look at the first message before the handler does.
type recordedStream struct {
	grpc.ServerStream
	call    *call
	records *records

	peeked   proto.Message // read ahead and not yet taken by the handler
	peekErr  error
	hasFirst bool
}

// peek reads the first message of the client.
func (s *recordedStream) peek() {
	if s.hasFirst {
		return
	}
	s.hasFirst = true
	m := s.call.method.request.New().Interface()
	if s.peekErr = s.receive(m); s.peekErr == nil {
		s.peeked = m
	}
}

// RecvMsg returns what was read ahead, and then what arrives.
func (s *recordedStream) RecvMsg(m any) error {
	if s.peekErr != nil {
		return s.peekErr
	}
	if s.peeked == nil {
		return s.receive(m)
	}
	first := s.peeked
	s.peeked = nil
	msg := m.(proto.Message)
	proto.Reset(msg)
	proto.Merge(msg, first)
	return nil
}

func (s *recordedStream) receive(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	s.records.received(s.call, m.(proto.Message))
	return nil
}

func (s *recordedStream) SendMsg(m any) error {
	if err := s.ServerStream.SendMsg(m); err != nil {
		return err
	}
	s.call.framesOut.Add(1)
	return nil
}
