// Package scripted runs sandboxes without processes: commands are Go functions, and files are in memory. Everything
// in it works inside a testing/synctest bubble.
//
// A Runtime knows the commands echo, cat, env, pwd, true, false and sleep, and answers sh -c and bash -c with a very
// small shell; see [Shell]. More are added, or these replaced, with options.
//
// Functions have neither users nor capabilities: of a container's security context only the read-only root file system
// shows, to commands that use the container's files and to whoever reads and writes them from outside.
package scripted
