// Package usage is what a function says when it is called by hand: its help, with the variables that it reads, taken from the struct that it reads
// them into. It reads no environment and prints no values.
package usage

import (
	"fmt"
	"io"
	"reflect"
	"strings"
	"text/tabwriter"
)

// Asked handles the command line of a function, which takes its settings from the environment alone. It reports true once it has written the help
// that -h, --help or help asks for: about, then the table of [Variables] of config. Any other argument is an error.
func Asked(w io.Writer, args []string, about string, config any) (bool, error) {
	if len(args) == 0 {
		return false, nil
	}
	switch args[0] {
	case "-h", "--help", "help":
	default:
		return false, fmt.Errorf("unknown argument %q: settings come from the environment, see --help", args[0])
	}
	if _, err := io.WriteString(w, strings.TrimSpace(about)+"\n\nVariables:\n\n"+Variables(config)); err != nil {
		return false, fmt.Errorf("writing the help: %w", err)
	}
	return true, nil
}

// Variables returns a line for each variable of config, a struct or a pointer to one with envconfig's tags: its name, its default
// ("required" for one that has none and must be set) and its description, the tag desc. Embedded structs come in their places.
func Variables(config any) string {
	var b strings.Builder
	// The buffer's own writes cannot fail.
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	t := reflect.TypeOf(config)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	write(w, t)
	_ = w.Flush()
	return b.String()
}

func write(w io.Writer, t reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			write(w, f.Type)
			continue
		}
		name := f.Tag.Get("envconfig")
		if name == "" {
			continue
		}
		value := f.Tag.Get("default")
		if f.Tag.Get("required") == "true" {
			value = "required"
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\n", name, value, f.Tag.Get("desc"))
	}
}
