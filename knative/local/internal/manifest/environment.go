package manifest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Environment returns the variables of a container, as Kubernetes computes them: first those of envFrom in their order, then
// those of env, the later ones replacing the earlier; $(NAME) in a value refers to the variables before it, stays as it is where
// there is none, and is written $$(NAME) to be taken literally. Values of ConfigMaps and Secrets are not expanded. namespace is the
// object's, pod what metadata.name reads as. What is missing and not optional is an error, with its place; all are joined.
func (s *Set) Environment(namespace, pod string, c *Container) (map[string]string, error) {
	var errs []error
	env := map[string]string{}
	report := func(p Pos, format string, args ...any) {
		errs = append(errs, &Error{Pos: p, Message: fmt.Sprintf(format, args...)})
	}
	// source returns the values of a ConfigMap or Secret and reports its absence.
	source := func(p Pos, kind, name string, optional bool) map[string]string {
		key := Key{namespace, name}
		if kind == "ConfigMap" {
			if m, ok := s.ConfigMaps[key]; ok {
				return m.Data
			}
		} else if secret, ok := s.Secrets[key]; ok {
			return secret.Data
		}
		if !optional {
			known := names(s.ConfigMaps)
			if kind == "Secret" {
				known = names(s.Secrets)
			}
			report(p, "there is no %s %s%s", kind, key, suggest(key.String(), known))
		}
		return nil
	}
	for _, from := range c.EnvFrom {
		kind, ref := "ConfigMap", from.ConfigMapRef
		if ref == nil {
			kind, ref = "Secret", from.SecretRef
		}
		for key, value := range source(from.Pos, kind, ref.Name, ref.Optional) {
			if name := from.Prefix + key; envName.MatchString(name) {
				env[name] = value
			}
		}
	}
	for _, e := range c.Env {
		if e.ValueFrom == nil {
			env[e.Name] = expand(e.Value, env)
			continue
		}
		kind, ref := "ConfigMap", e.ValueFrom.ConfigMapKeyRef
		if e.ValueFrom.SecretKeyRef != nil {
			kind, ref = "Secret", e.ValueFrom.SecretKeyRef
		}
		if ref == nil {
			env[e.Name] = namespace
			if e.ValueFrom.FieldRef.FieldPath == "metadata.name" {
				env[e.Name] = pod
			}
			continue
		}
		values := source(e.Pos, kind, ref.Name, ref.Optional)
		value, ok := values[ref.Key]
		switch {
		case ok:
			env[e.Name] = value
		case values != nil && !ref.Optional:
			report(e.Pos, "%s %s/%s has no key %q%s", kind, namespace, ref.Name, ref.Key, suggest(ref.Key, slices.Collect(maps.Keys(values))))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return env, nil
}

// ExpandedArgs returns the container's arguments with $(NAME) expanded from env, as Kubernetes does it.
func (c *Container) ExpandedArgs(env map[string]string) []string {
	args := make([]string, len(c.Args))
	for i, arg := range c.Args {
		args[i] = expand(arg, env)
	}
	return args
}

// expand replaces $(NAME) by the variable's value, where there is one, and $$ by $.
func expand(text string, env map[string]string) string {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '$' || i+1 == len(text) {
			out.WriteByte(text[i])
			continue
		}
		switch next := text[i+1]; next {
		case '$':
			out.WriteByte('$')
			i++
		case '(':
			end := strings.IndexByte(text[i:], ')')
			if end < 0 {
				out.WriteByte('$')
				continue
			}
			reference := text[i : i+end+1]
			if value, ok := env[reference[2:end]]; ok {
				out.WriteString(value)
			} else {
				out.WriteString(reference)
			}
			i += end
		default:
			out.WriteByte('$')
		}
	}
	return out.String()
}

// Override sets keys of a ConfigMap, which is made where it is absent.
func (s *Set) Override(key Key, values map[string]string) {
	m, ok := s.ConfigMaps[key]
	if !ok {
		m = &ConfigMap{Object: Object{APIVersion: "v1", Kind: "ConfigMap", Metadata: Metadata{Name: key.Name, Namespace: key.Namespace}}}
		s.ConfigMaps[key] = m
	}
	if m.Data == nil {
		m.Data = map[string]string{}
	}
	maps.Copy(m.Data, values)
}

// SetSecret puts a Secret in the place of any other of the same name.
func (s *Set) SetSecret(key Key, values map[string]string) {
	s.Secrets[key] = &Secret{
		Object: Object{APIVersion: "v1", Kind: "Secret", Metadata: Metadata{Name: key.Name, Namespace: key.Namespace}},
		Data:   maps.Clone(values),
	}
}
