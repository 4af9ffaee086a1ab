package engine

import (
	"context"
	"fmt"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
)

// maxDocuments bounds how many organizations' documents a policy keeps.
const maxDocuments = 4096

// document is one immutable data document, with the one read transaction that
// every evaluation over it shares: nothing ever writes to the store.
type document struct {
	version uint64
	store   storage.Store
	txn     storage.Transaction
}

func newDocument(root ast.Object, version uint64) (*document, error) {
	store := inmem.NewFromASTObject(root)
	txn, err := store.NewTransaction(context.Background())
	if err != nil {
		return nil, err
	}
	return &document{version: version, store: store, txn: txn}, nil
}

// dataSet makes the data that a policy sees: its own data files and the
// settings, shared by all, and the role mappings of the one organization that
// owns the app asked for. A document is built when an organization is first
// asked for and kept until its mappings change.
type dataSet struct {
	root     ast.Object // the source's data
	battery  ast.Object // what of it lies below data.battery, and the settings
	settings *document  // without any role mappings

	mu    sync.RWMutex
	byOrg map[string]*document
}

func newDataSet(data, settings map[string]any) (*dataSet, error) {
	root, err := objectOf(data)
	if err != nil {
		return nil, fmt.Errorf("data files: %w", err)
	}
	own, err := objectOf(settings)
	if err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	battery := ast.NewObject()
	if given := root.Get(ast.StringTerm("battery")); given != nil {
		object, ok := given.Value.(ast.Object)
		if !ok {
			return nil, fmt.Errorf("data.battery is no object")
		}
		battery = extended(object, "", nil)
	}
	d := &dataSet{root: root, battery: extended(battery, "settings", own), byOrg: map[string]*document{}}
	d.settings, err = newDocument(extended(d.root, "battery", extended(d.battery, "role_mappings", ast.NewObject())), 0)
	return d, err
}

func objectOf(m map[string]any) (ast.Object, error) {
	if m == nil {
		return ast.NewObject(), nil
	}
	value, err := ast.InterfaceToValue(m)
	if err != nil {
		return nil, err
	}
	object, ok := value.(ast.Object)
	if !ok {
		return nil, fmt.Errorf("%T is no object", value)
	}
	return object, nil
}

// extended copies an object, without its values, and sets one more key.
func extended(o ast.Object, key string, value ast.Object) ast.Object {
	out := ast.NewObject()
	o.Foreach(func(k, v *ast.Term) { out.Insert(k, v) })
	if value != nil {
		out.Insert(ast.StringTerm(key), ast.NewTerm(value))
	}
	return out
}

// of returns the document with an organization's role mappings. The pair of
// mappings and version comes from one immutable directory view, so a document of
// the same version has the same mappings.
func (d *dataSet) of(org string, mappings map[string][]string, version uint64) (*document, error) {
	d.mu.RLock()
	doc := d.byOrg[org]
	d.mu.RUnlock()
	if doc != nil && doc.version == version {
		return doc, nil
	}

	object := ast.NewObject()
	for group, roles := range mappings {
		object.Insert(ast.StringTerm(group), stringsTerm(roles))
	}
	doc, err := newDocument(extended(d.root, "battery", extended(d.battery, "role_mappings", object)), version)
	if err != nil {
		return nil, fmt.Errorf("prepare role mappings: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, there := d.byOrg[org]; !there && len(d.byOrg) >= maxDocuments {
		for victim := range d.byOrg { // any: they are rebuilt when asked for
			delete(d.byOrg, victim)
			break
		}
	}
	d.byOrg[org] = doc
	return doc, nil
}
