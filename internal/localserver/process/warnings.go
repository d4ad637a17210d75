//go:build linux || darwin

package process

// warnings are what somebody who starts a server of this level should know. failed says why better levels are not in
// use, one sentence each.
func warnings(level string, failed []string) []string {
	var list []string
	switch level {
	case Plain:
		list = append(list, "NO ISOLATION: sandboxes are ordinary processes of this user. They see and can change "+
			"every file, process and network service that this user can")
	case Rootless:
		list = append(list, "rootless isolation: files of other users of this machine cannot be changed in place "+
			"inside sandboxes, and most package managers fail")
	}
	list = append(list, failed...)
	list = append(list, "memory, CPU and process limits are not enforced")
	if level != Plain {
		list = append(list, "sandboxes can read this machine's files and share its network unless egress is denied")
	}
	return append(list,
		"image names select nothing by themselves: unless an image is mapped to a directory, its containers run this "+
			"machine's own programs, whose versions may differ from the image's tag",
		"this is a development tool and not a security boundary against hostile code")
}
