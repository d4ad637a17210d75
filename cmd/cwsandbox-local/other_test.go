//go:build unix && !linux

package main

// beforeProgram is not used on this system.
const beforeProgram = ""

func prepare(string) {}
