// Package process is the container runtime that runs real processes of this machine.
//
// On Linux a sandbox is a tree of processes in namespaces of their own:
//
//	server ── supervisor            one per sandbox, owns its pid, host name, IPC and network namespaces
//	             └── init           one per container, PID 1 of its pid and mount namespaces
//	                  ├── main process
//	                  └── processes started later
//
// Supervisor and init are the server's own executable, started again; [Main] turns them into what they are. They are
// nested because a threaded program cannot join mount or pid namespaces, while a child that is born inside need not.
// The server talks to them over socket pairs, and what carries data (pipes, terminals, opened files) travels as file
// descriptors, so that no byte of a stream passes through them.
//
// The tree falls with its root: a supervisor dies with the server's thread that started it, and takes its namespaces
// along. Mounts exist only inside those namespaces.
//
// Where the kernel does not allow any of this, processes are ordinary children of the server in a private directory.
//
// None of the levels is a security boundary against hostile code.
package process
