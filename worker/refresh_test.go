package worker

import (
	"maps"
	"testing"

	"github.com/tidemill/tidemill/connect"
)

// TestSecretsOfATaskAreReadAnew resolves a task's configuration twice, with the secret
// changed in between, and leaves the stored one alone.
func TestSecretsOfATaskAreReadAnew(t *testing.T) {
	secret := "old"
	r := &taskRun{stored: connect.Config{"task.class": "x", "password": "${file:/run/secrets/db:password}"}, rt: &runtime{
		resolve: func(c connect.Config) (connect.Config, error) {
			c = maps.Clone(c)
			c["password"] = secret
			return c, nil
		},
	}}
	for _, secret = range []string{"old", "new"} {
		config, err := r.taskConfig()
		if err != nil || config["password"] != secret || len(config) != 1 {
			t.Errorf("with the secret %s it is %v, %v", secret, config, err)
		}
	}
	if len(r.stored) != 2 || r.stored["password"] == secret {
		t.Errorf("what is stored became %v", r.stored)
	}
}
