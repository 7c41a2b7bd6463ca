package qemu

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// properties is the argument of an option such as -object or -chardev: a list
// of key=value pairs, where a comma inside a value is written twice, or a JSON
// object.
type properties struct {
	list []property
	// json is the object, where the argument is one. Nested members appear in
	// list under dotted keys.
	json map[string]json.RawMessage
}

// property is one pair. A key without a value is a switch: "share" means
// share=on, "noshare" share=off.
type property struct {
	key, value string
	isSwitch   bool
	// isImplied says that the key was not written: the first value of an
	// option may stand without it.
	isImplied bool
}

// parseProperties parses the argument of an option; implied is the key that
// the first value has when it is written without one.
func parseProperties(argument, implied string) (properties, error) {
	if !strings.HasPrefix(argument, "{") {
		list := splitProperties(argument, implied)
		if slices.ContainsFunc(list, func(p property) bool { return p.key == "" }) {
			return properties{}, errors.New("it has a property without a name: a comma in a value is written twice")
		}
		return properties{list: list}, nil
	}
	var p properties
	if err := json.Unmarshal([]byte(argument), &p.json); err != nil {
		return properties{}, fmt.Errorf("parse JSON: %w", err)
	}
	var tree any
	decoder := json.NewDecoder(strings.NewReader(argument))
	decoder.UseNumber()
	if err := decoder.Decode(&tree); err != nil {
		return properties{}, fmt.Errorf("parse JSON: %w", err)
	}
	p.list = flatten(nil, "", tree)
	return p, nil
}

// splitProperties follows QEMU's get_opt_name_value to the letter.
func splitProperties(s, implied string) []property {
	var list []property
	for s != "" {
		var p property
		switch n := strings.IndexAny(s, "=,"); {
		case n >= 0 && s[n] == '=':
			p.key = s[:n]
			p.value, s = cutValue(s[n+1:])
		case implied != "":
			p.key, p.isImplied = implied, true
			p.value, s = cutValue(s)
		case n < 0:
			p.key, p.isSwitch, s = s, true, ""
		default:
			p.key, p.isSwitch, s = s[:n], true, s[n:]
		}
		implied = ""
		s = strings.TrimPrefix(s, ",")
		list = append(list, p)
	}
	return list
}

// cutValue returns the value at the start of s, and the rest behind it.
func cutValue(s string) (value, rest string) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == ',' {
			if !strings.HasPrefix(s[i:], ",,") {
				return b.String(), s[i:]
			}
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String(), ""
}

// flatten appends the scalars of a JSON value under dotted keys.
func flatten(list []property, key string, value any) []property {
	switch v := value.(type) {
	case map[string]any:
		for name, member := range v {
			list = flatten(list, strings.TrimPrefix(key+"."+name, "."), member)
		}
	case []any:
		for i, member := range v {
			list = flatten(list, fmt.Sprintf("%s.%d", key, i), member)
		}
	case bool:
		list = append(list, property{key: key, value: map[bool]string{true: "on", false: "off"}[v]})
	case nil:
	default:
		list = append(list, property{key: key, value: fmt.Sprint(v)})
	}
	return list
}

// get returns the value of a key. As in QEMU the last one wins.
func (p properties) get(key string) (value string, ok bool) {
	for _, e := range p.list {
		switch {
		case e.key == key && e.isSwitch:
			value, ok = "on", true
		case e.key == key:
			value, ok = e.value, true
		case e.isSwitch && e.key == "no"+key:
			value, ok = "off", true
		}
	}
	return value, ok
}

// is reports whether key is there and set to a word that QEMU takes for true.
func (p properties) is(key string) bool {
	switch value, _ := p.get(key); value {
	case "on", "yes", "true", "y":
		return true
	}
	return false
}

// with returns the argument with the value of key replaced.
func (p properties) with(key, value string) (string, error) {
	if p.json != nil {
		return p.withJSON(key, value)
	}
	var b strings.Builder
	for _, e := range p.list {
		if e.key == key {
			continue
		}
		b.WriteString(e.String() + ",")
	}
	b.WriteString(property{key: key, value: value}.String())
	return b.String(), nil
}

func (p properties) withJSON(key, value string) (string, error) {
	quoted, err := marshalPlain(value)
	if err != nil {
		return "", err
	}
	object := maps.Clone(p.json)
	object[key] = quoted
	whole, err := marshalPlain(object)
	return string(whole), err
}

// marshalPlain is json.Marshal without the escapes that are only there for
// web pages.
func marshalPlain(v any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, fmt.Errorf("write JSON: %w", err)
	}
	return bytes.TrimSpace(b.Bytes()), nil
}

// String returns the property as it is written on a command line.
func (p property) String() string {
	escaped := strings.ReplaceAll(p.value, ",", ",,")
	switch {
	case p.isSwitch:
		return p.key
	case p.isImplied:
		return escaped
	}
	return p.key + "=" + escaped
}
