package authzen

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
)

const (
	maxDepth = 32 // of nested objects and lists
	maxDigit = 64 // bytes of one number
)

// parse reads a body that is one JSON object, in the one way that all readers
// agree on. Numbers stay as they were written.
func parse(text []byte) (map[string]any, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("it is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	v, err := value(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the object")
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("it is no JSON object")
	}
	return object, nil
}

var errNoJSON = errors.New("it is no JSON")

func value(d *json.Decoder, depth int) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, errNoJSON
	}
	switch t := t.(type) {
	case json.Delim:
		switch {
		case depth >= maxDepth:
			return nil, fmt.Errorf("it is nested deeper than %d", maxDepth)
		case t == '{':
			return object(d, depth)
		case t == '[':
			return list(d, depth)
		}
		return nil, errNoJSON
	case json.Number:
		// What a float cannot hold costs arbitrary memory to calculate with.
		if _, err := strconv.ParseFloat(t.String(), 64); err != nil || len(t) > maxDigit {
			return nil, errors.New("it holds a number of absurd size")
		}
	}
	return t, nil
}

func object(d *json.Decoder, depth int) (any, error) {
	out := map[string]any{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, errNoJSON
		}
		key, ok := t.(string)
		if !ok {
			return nil, errNoJSON
		}
		if _, twice := out[key]; twice {
			return nil, errors.New("a member is there twice")
		}
		if out[key], err = value(d, depth+1); err != nil {
			return nil, err
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, errNoJSON
	}
	return out, nil
}

func list(d *json.Decoder, depth int) (any, error) {
	out := []any{}
	for d.More() {
		v, err := value(d, depth+1)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	if _, err := d.Token(); err != nil {
		return nil, errNoJSON
	}
	return out, nil
}

// question is one evaluation: a four-tuple whose parts have only the members
// that the standard names, each of its type. Members that it does not name are
// ignored (§4).
type question struct {
	subject, action, resource, context map[string]any
}

// questionOf reads an evaluation; what it does not say comes from the defaults.
// A part replaces the default as a whole, but for a required member that it
// lacks.
func questionOf(item, defaults map[string]any) (q question, err error) {
	if q.subject, err = entity("subject", item, defaults, "type", "id"); err != nil {
		return q, err
	}
	if q.action, err = entity("action", item, defaults, "name"); err != nil {
		return q, err
	}
	if q.resource, err = entity("resource", item, defaults, "type", "id"); err != nil {
		return q, err
	}
	q.context = map[string]any{}
	v, given := item["context"]
	if !given {
		v, given = defaults["context"]
	}
	if given {
		var ok bool
		if q.context, ok = v.(map[string]any); !ok {
			return q, badRequest("context must be an object.")
		}
	}
	return q, nil
}

func entity(name string, item, defaults map[string]any, required ...string) (map[string]any, error) {
	v, given := item[name]
	if !given {
		v, given = defaults[name]
	}
	if !given {
		return nil, badRequest("%s is missing.", name)
	}
	said, ok := v.(map[string]any)
	if !ok {
		return nil, badRequest("%s must be an object.", name)
	}
	otherwise, _ := defaults[name].(map[string]any)
	out := map[string]any{"properties": map[string]any{}}
	for _, member := range required {
		m, given := said[member]
		if !given {
			m, given = otherwise[member]
		}
		text, ok := m.(string)
		switch {
		case !given:
			return nil, badRequest("%s.%s is missing.", name, member)
		case !ok || text == "":
			return nil, badRequest("%s.%s must be a text that is not empty.", name, member)
		}
		out[member] = text
	}
	if p, given := said["properties"]; given {
		if out["properties"], ok = p.(map[string]any); !ok {
			return nil, badRequest("%s.properties must be an object.", name)
		}
	}
	return out, nil
}
