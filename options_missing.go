package cwsandbox

// SettingDeleteOption is an option of [Client.DeleteSecretStore], [Client.DeleteIdentityFederation] and
// [Client.DeleteTemplate].
type SettingDeleteOption interface{ applySettingDelete(*settingDeleteConfig) }

// MissingOption is an option of whatever deletes.
type MissingOption interface {
	DeleteOption
	VolumeDeleteOption
	SettingDeleteOption
	SnapshotDeleteOption
}

type missingOption struct{}

// MissingOK makes the deletion of what the service does not know a success.
func MissingOK() MissingOption { return missingOption{} }

func (missingOption) applyDelete(c *deleteConfig)               { c.missingOK = true }
func (missingOption) applyVolumeDelete(c *volumeDeleteConfig)   { c.missingOK = true }
func (missingOption) applySettingDelete(c *settingDeleteConfig) { c.missingOK = true }
func (missingOption) String() string                            { return printed("MissingOK") }

// forgiven takes the answer that there is nothing to delete for a success, should the service give it all the same.
func forgiven(missingOK bool, err error) error {
	if missingOK && answeredNotFound(err) {
		return nil
	}
	return err
}

// settingDeleteConfig is the configuration of a delete of a setting.
type settingDeleteConfig struct {
	faults    faults
	missingOK bool
}

func newSettingDeleteConfig(op string, opts []SettingDeleteOption, checks ...func(*faults)) (settingDeleteConfig, error) {
	var c settingDeleteConfig
	for _, check := range checks {
		check(&c.faults)
	}
	applyAll(&c.faults, opts, func(o SettingDeleteOption) { o.applySettingDelete(&c) })
	return c, c.faults.err(call{op: op})
}
