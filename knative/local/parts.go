package main

import "millrace/knative/local/internal/platform"

// parts are the embedded servers and dispatchers of this build.
func parts() platform.Parts {
	return platform.Parts{}
}
