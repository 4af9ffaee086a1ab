package engine

import (
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // zones must not depend on what the host has installed

	"github.com/open-policy-agent/opa/v1/ast"
)

// modules calls fn for each compiled module, in the order of their names.
func (b *builder) modules(c *ast.Compiler, fn func(*ast.Module)) {
	names := make([]string, 0, len(c.Modules))
	for name := range c.Modules {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fn(c.Modules[name])
	}
}

// checkNames refuses packages and rules under names that are not the author's.
// It looks at each rule's whole name: in package battery, a rule settings is
// data.battery.settings, too.
func (b *builder) checkNames(c *ast.Compiler) {
	b.modules(c, func(m *ast.Module) {
		if b.refuse(m.Package.Path) {
			b.faults.addAt(m.Package.Location, FaultReserved, "package %s is not for this policy to define",
				strings.TrimPrefix(m.Package.Path.String(), "data."))
			return
		}
		for _, rule := range m.Rules {
			if name := rule.Ref().ConstantPrefix(); b.refuse(name) {
				b.faults.addAt(rule.Location, FaultReserved, "%s is not for this policy to define", name)
			}
		}
	})
}

// checkPrint refuses print: the compiler drops it from what is evaluated, so a
// rule whose body is nothing but print would hold for everyone.
func (b *builder) checkPrint(m *ast.Module) {
	ast.WalkExprs(m, func(e *ast.Expr) bool {
		if e.IsCall() && e.Operator().Equal(ast.Print.Ref()) {
			b.faults.addAt(e.Location, FaultPrint, "print is for tests; take it out of the policy")
		}
		return false
	})
}

// zoned are the built-ins that take [ns, "Area/City", ...], by how many of
// their operands do. With the zone "Local" the answer would hang on the host,
// so the zone has to be written out where it can be seen.
var zoned = map[string]int{"time.clock": 1, "time.date": 1, "time.weekday": 1, "time.format": 1, "time.diff": 2}

func (b *builder) checkTimeZones(c *ast.Compiler) {
	b.modules(c, func(m *ast.Module) {
		ast.WalkExprs(m, func(e *ast.Expr) bool {
			for _, w := range e.With {
				if ref, ok := w.Value.Value.(ast.Ref); ok && zoned[ref.String()] > 0 {
					b.faults.addAt(w.Location, FaultTimeZone, "%s must be called by its name, not through `with`", ref)
				}
			}
			if !e.IsCall() {
				return false
			}
			name := e.Operator().String()
			for i := range zoned[name] {
				if why := badZone(e.Operand(i)); why != "" {
					b.faults.addAt(nearest(e.Location, m.Package.Location), FaultTimeZone, "%s: %s", name, why)
				}
			}
			return false
		})
	})
}

// readsClock reports whether time.now_ns, the one way to the time, is named
// anywhere: called, or put in another's place through `with`.
func (b *builder) readsClock(c *ast.Compiler) (found bool) {
	b.modules(c, func(m *ast.Module) {
		ast.WalkRefs(m, func(ref ast.Ref) bool {
			found = found || ref.HasPrefix(ast.NowNanos.Ref())
			return found
		})
	})
	return found
}

// badZone says why an operand does not name its zone.
func badZone(operand *ast.Term) string {
	const write = `write the zone out: [ns, "UTC"] or [ns, "Europe/Berlin"]`
	if operand == nil {
		return write
	}
	array, ok := operand.Value.(*ast.Array)
	if !ok || array.Len() < 2 {
		return write
	}
	zone, ok := array.Elem(1).Value.(ast.String)
	switch {
	case !ok:
		return write
	case zone == "Local":
		return "the host's time zone is not for policies: " + write
	}
	if _, err := time.LoadLocation(string(zone)); err != nil {
		return "no such time zone: " + string(zone)
	}
	return ""
}

// checkData refuses references to data that neither a rule nor a data file nor
// the engine provides: such a reference is undefined for ever, and under a
// `not` that admits. It looks at the first name, below data.battery at the
// second, and below data.battery.settings at the third; data that is there may
// lack a key.
func (b *builder) checkData(c *ast.Compiler) {
	battery, _ := b.src.Data["battery"].(map[string]any)
	settings := b.schemas.names("data", "settings")
	for name := range b.options.Settings {
		settings = append(settings, name)
	}
	b.modules(c, func(m *ast.Module) {
		ast.WalkRefs(m, func(ref ast.Ref) bool {
			if !ref.HasPrefix(ast.DefaultRootRef) {
				return false
			}
			known := true
			switch name := constants(ref); {
			case len(name) == 0 || len(c.GetRulesDynamicWithOpts(ref, ast.RulesOptions{IncludeHiddenModules: true})) > 0:
			case name[0] != "battery":
				_, known = b.src.Data[name[0]]
			case len(name) == 1:
			case name[1] == "role_mappings": // empty for the admin policy for ever, and under a `not` that admits
				known = !b.entry.Equal(adminRef)
			case name[1] != "settings":
				_, known = battery[name[1]]
			case len(name) > 2:
				known = slices.Contains(settings, name[2])
			}
			if !known {
				b.faults.addAt(nearest(ref[0].Location, m.Package.Location), FaultData, "nothing provides %s", ref)
			}
			return false
		})
	})
}

// constants are the names after data, up to the first that is not constant.
func constants(ref ast.Ref) (names []string) {
	for _, t := range ref[1:] {
		s, ok := t.Value.(ast.String)
		if !ok {
			return names
		}
		names = append(names, string(s))
	}
	return names
}
