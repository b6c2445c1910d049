package objectstore_test

import (
	"strings"
	"testing"

	"millrace/shared/objectstore"
)

// Guards which bucket gets which credentials, and combinations that cannot be meant.
func TestKeys(t *testing.T) {
	use := func(k objectstore.Keys, private bool, want objectstore.Config) {
		t.Helper()
		if err := k.Validate(); err != nil {
			t.Error(err)
		}
		if got := k.Use(objectstore.Config{}, private); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	one := objectstore.Keys{AccessKey: "a", SecretKey: "s", Profile: "default"}
	two := objectstore.Keys{AccessKey: "a", SecretKey: "s", PrivateAccessKey: "b", PrivateSecretKey: "t"}
	file := objectstore.Keys{File: "f", Profile: "p", PrivateProfile: "q"}
	use(one, true, objectstore.Config{AccessKey: "a", SecretKey: "s", Profile: "default"})
	use(two, false, objectstore.Config{AccessKey: "a", SecretKey: "s"})
	use(two, true, objectstore.Config{AccessKey: "b", SecretKey: "t"})
	use(file, false, objectstore.Config{CredentialsFile: "f", Profile: "p"})
	use(file, true, objectstore.Config{CredentialsFile: "f", Profile: "q"})
	file.PrivateProfile = ""
	use(file, true, objectstore.Config{CredentialsFile: "f", Profile: "p"})
	if err := file.Present(); err != nil {
		t.Error(err)
	}
	if err := (objectstore.Keys{Profile: "default"}).Present(); err == nil || !strings.Contains(err.Error(), "AWS_SHARED_CREDENTIALS_FILE") {
		t.Errorf("no keys: %v", err)
	}
	for want, k := range map[string]objectstore.Keys{
		"AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY belong":   {AccessKey: "a"},
		"S3_PRIVATE_SECRET_ACCESS_KEY belong":                  {PrivateSecretKey: "secret"},
		"exclude each other":                                   {File: "f", AccessKey: "a", SecretKey: "secret"},
		"S3_PRIVATE_PROFILE needs AWS_SHARED_CREDENTIALS_FILE": {PrivateProfile: "p"},
	} {
		if err := k.Validate(); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", want, err)
		}
	}
}
