package apps

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"battery.app/gate/authz"
)

// Prefix is that of all keys of this room in the store.
const Prefix = "apps/"

const (
	appPrefix  = Prefix + "app/"
	hostPrefix = Prefix + "host/"
	version    = 1
)

func appKey(id string) string    { return appPrefix + id }
func hostKey(name string) string { return hostPrefix + name }

// appID is the id in the key of an app, or false for another key.
func appID(key string) (string, bool) { return strings.CutPrefix(key, appPrefix) }

// appRecord is an app in the store.
type appRecord struct {
	V int `json:"v"`
	authz.App
}

// hostRecord is the claim of an app on a host name.
type hostRecord struct {
	V     int    `json:"v"`
	AppID string `json:"app_id"`
}

// decode reads a record strictly: a field that this version does not know may
// be one that restricts, so an app with one is better not served.
func decode(raw []byte, into any, v *int) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("read record: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("read record: more than one value")
	}
	if *v != version {
		return fmt.Errorf("record has version %d, this program reads %d", *v, version)
	}
	return nil
}

// decodeApp reads and checks the stored app under id.
func (r *Registry) decodeApp(id string, raw []byte) (*authz.App, error) {
	var rec appRecord
	if err := decode(raw, &rec, &rec.V); err != nil {
		return nil, err
	}
	if rec.ID != id {
		return nil, errors.New("the record is of another app than its key")
	}
	return r.canonical(rec.App)
}

// hostsIn reads the hosts out of a stored app, even of one that decodeApp
// refuses, so that they are let go with it.
func hostsIn(raw []byte) []string {
	var rec struct {
		Hosts []string `json:"hosts"`
	}
	if json.Unmarshal(raw, &rec) != nil || len(rec.Hosts) > maxHosts {
		return nil
	}
	return rec.Hosts
}
