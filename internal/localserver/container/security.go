package container

// Security is what the processes of a container may do. The zero value is its root with DefaultCapabilities, who gains
// nothing by running other programs.
type Security struct {
	User, Group  uint32
	ReadOnlyRoot bool
	// GainPrivileges lets a process gain privileges by the program that it runs, such as a setuid one.
	GainPrivileges bool
	// Drop are those of DefaultCapabilities that root does not have.
	Drop []string
}

// DefaultCapabilities are what container engines leave to root in a container by default, without the making of device
// nodes. They are the most that there is.
var DefaultCapabilities = []string{
	"CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP", "NET_BIND_SERVICE",
	"SYS_CHROOT", "KILL", "AUDIT_WRITE",
}
