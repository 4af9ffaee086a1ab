package standin

import (
	"encoding/json"
	"maps"
	"reflect"
)

// object is a JSON object whose values are still as they came.
type object map[string]json.RawMessage

// str reads a string field; "" if it is missing or not a string.
func (o object) str(key string) string {
	var s string
	if json.Unmarshal(o[key], &s) != nil {
		return ""
	}
	return s
}

// sub reads an object field; nil if it is missing or not an object.
func (o object) sub(key string) object {
	var sub object
	if json.Unmarshal(o[key], &sub) != nil {
		return nil
	}
	return sub
}

func (o object) has(key string) bool {
	_, ok := o[key]
	return ok
}

// without copies the object without some keys.
func (o object) without(keys ...string) object {
	out := maps.Clone(o)
	for _, k := range keys {
		delete(out, k)
	}
	return out
}

// asObject turns any value that encodes as a JSON object into one.
func asObject(v any) (object, error) {
	raw, err := compact(v)
	if err != nil {
		return nil, err
	}
	var o object
	if err := json.Unmarshal(raw, &o); err != nil {
		return nil, err
	}
	return o, nil
}

// overlay lays the given fields over an object of the world: what is given
// wins, also where the world has no such field.
func overlay(base any, given object) (object, error) {
	out, err := asObject(base)
	if err != nil {
		return nil, err
	}
	for k, raw := range given {
		if out[k], err = canonical(raw); err != nil {
			return nil, unprocessable("data.%s: %v", k, err)
		}
	}
	return out, nil
}

// read decodes an overlaid object into the world's type.
func read[T any](o object) (T, error) {
	var out T
	raw, err := compact(o)
	if err != nil {
		return out, err
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		return out, unprocessable("data: %v", err)
	}
	return out, nil
}

// merged overlays and reads in one step.
func merged[T any](base T, given object) (T, error) {
	o, err := overlay(base, given)
	if err != nil {
		var zero T
		return zero, err
	}
	return read[T](o)
}

// previousAttributes is the shallow difference that WorkOS sends with updates:
// the former value of each root property and custom attribute that changed,
// null for one that did not exist.
func previousAttributes(before, after any) (object, error) {
	b, err := asObject(before)
	if err != nil {
		return nil, err
	}
	a, err := asObject(after)
	if err != nil {
		return nil, err
	}
	out := object{}
	for k := range a {
		switch {
		case k == "updated_at" || same(a[k], b[k]):
		case k == "custom_attributes":
			if out[k], err = compact(former(b.sub(k), a.sub(k))); err != nil {
				return nil, err
			}
		default:
			out[k] = orNull(b[k])
		}
	}
	return out, nil
}

// former lists what the fields that differ were before.
func former(before, after object) object {
	out := object{}
	for _, o := range []object{before, after} {
		for k := range o {
			if !same(before[k], after[k]) {
				out[k] = orNull(before[k])
			}
		}
	}
	return out
}

func orNull(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("null")
	}
	return raw
}

func same(a, b json.RawMessage) bool {
	var x, y any
	if json.Unmarshal(orNull(a), &x) != nil || json.Unmarshal(orNull(b), &y) != nil {
		return false
	}
	return reflect.DeepEqual(x, y)
}
