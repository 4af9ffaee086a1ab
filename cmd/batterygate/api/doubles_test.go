package api_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"time"

	"battery.app/gate/cmd/batterygate/api"
	"battery.app/gate/policies"
	"battery.app/gate/sso"
	"battery.app/gate/sync/directory"
	"battery.app/gate/sync/feed"
)

// customers are organizations without WorkOS.
type customers struct {
	dir       *directory.Directory
	published func(context.Context, uint64) error
}

func (c *customers) Create(ctx context.Context, n sso.NewOrganization) (sso.Organization, error) {
	o := directory.Organization{ID: "org_" + n.Slug, Slug: n.Slug, Name: n.Name}
	rev, err := c.dir.PutOrganization(ctx, o)
	if err == nil {
		err = c.published(ctx, rev)
	}
	return sso.Organization(o), err
}

func (c *customers) Update(ctx context.Context, id string, p sso.OrganizationPatch) (sso.Organization, error) {
	o, ok := c.dir.View().Organization(id)
	if !ok {
		return sso.Organization{}, sso.ErrNoOrganization
	}
	if p.Slug != nil {
		return sso.Organization{}, fmt.Errorf("%w: crm.acme", sso.ErrSlugInUse)
	}
	o.Name = *p.Name
	rev, err := c.dir.PutOrganization(ctx, o)
	if err == nil {
		err = c.published(ctx, rev)
	}
	return sso.Organization(o), err
}

func (c *customers) Delete(ctx context.Context, id string) error {
	if _, ok := c.dir.View().Organization(id); !ok {
		return sso.ErrNoOrganization
	}
	got, err := c.dir.ApplyEvent(ctx, directory.Event{ID: "event_delete_" + id, Type: "organization.deleted", CreatedAt: time.Date(2026, 3, 1, 12, 0, 1, 0, time.UTC),
		Data: json.RawMessage(fmt.Sprintf(`{"id":%q,"name":"n","created_at":"2026-03-01T11:00:00Z","updated_at":"2026-03-01T12:00:00Z"}`, id))})
	if err != nil {
		return err
	}
	return c.published(ctx, got.Revision)
}

func (*customers) Domains(context.Context, string) ([]sso.OrganizationDomain, error) {
	return []sso.OrganizationDomain{{ID: "org_domain_1", Domain: "acme.test", State: sso.DomainVerified}}, nil
}

const secretLink = "https://setup.workos.test/portal/launch?secret=Xc9Y7pQ2"

type portal struct{}

func (portal) PortalLink(context.Context, string, string, string, string) (string, error) {
	return secretLink, nil
}

type catchUp struct{}

func (catchUp) Reconcile(context.Context, string, bool) ([]directory.Difference, error) {
	return []directory.Difference{{Directory: dirA, Changes: []directory.Change{{Kind: "user", Op: "add", ID: userA}}}}, nil
}
func (catchUp) Status() feed.Status { return feed.Status{} }

type rotator struct {
	mu sync.Mutex
	n  int
}

func (r *rotator) Rotate(context.Context, string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n++
	return nil
}

func (r *rotator) KeyInfo(context.Context) ([]api.KeyInfo, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return []api.KeyInfo{{Purpose: "tickets", ID: fmt.Sprint("key", r.n), State: "signing"}, {Purpose: "sessions", ID: "s", State: "signing"}}, nil
}

// bundle is the shipped admin policy with a comment, or with other Rego.
func bundle(t *testing.T, comment, rego string) string {
	t.Helper()
	var out bytes.Buffer
	gz := gzip.NewWriter(&out)
	tw := tar.NewWriter(gz)
	files, err := fs.Glob(policies.FS, "admin/*.rego")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	for _, name := range files {
		raw := must(fs.ReadFile(policies.FS, name))(t)
		if strings.HasSuffix(name, "_test.rego") {
			continue
		}
		text := string(raw) + "\n# " + comment + "\n"
		if rego != "" {
			text = rego
		}
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(tw.Close(), gz.Close()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}
