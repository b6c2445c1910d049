package usage

import (
	"errors"
	"strings"
	"testing"
)

type inner struct {
	Port int `envconfig:"PORT" default:"8080" desc:"port"`
}

type settings struct {
	URL string `envconfig:"URL" required:"true" desc:"where to"`
	inner
	Plain string `envconfig:"PLAIN" desc:"anything"`
	read  bool
}

// Guards that a person who asks gets the help and nothing starts, that a program without arguments starts, and that a typing error does neither.
func TestAsked(t *testing.T) {
	want := "about it\n\nVariables:\n\n  URL    required  where to\n  PORT   8080      port\n  PLAIN            anything\n"
	for _, arg := range []string{"-h", "--help", "help"} {
		var b strings.Builder
		if done, err := Asked(&b, []string{arg}, "\nabout it\n", &settings{read: true}); !done || err != nil || b.String() != want {
			t.Errorf("%s: %v, %v, %q", arg, done, err, b.String())
		}
	}
	var b strings.Builder
	if done, err := Asked(&b, nil, "about", settings{}); done || err != nil || b.Len() > 0 {
		t.Errorf("without arguments: %v, %v, %q", done, err, b.String())
	}
	if done, err := Asked(&b, []string{"--prot=80"}, "about", settings{}); done || err == nil || !strings.Contains(err.Error(), `"--prot=80"`) || b.Len() > 0 {
		t.Errorf("an unknown argument: %v, %v, %q", done, err, b.String())
	}
}

type broken struct{}

var errBroken = errors.New("broken")

func (broken) Write([]byte) (int, error) { return 0, errBroken }

// Guards the exit code of help that nobody could read.
func TestHelpThatCannotBeWritten(t *testing.T) {
	if done, err := Asked(broken{}, []string{"help"}, "", settings{}); done || !errors.Is(err, errBroken) {
		t.Errorf("%v, %v", done, err)
	}
}
