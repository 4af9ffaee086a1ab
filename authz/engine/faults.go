package engine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Codes of faults that are ours; OPA's own start with "rego_".
const (
	FaultNoDecision = "missing_decision" // no rule of the entry point's name
	FaultReserved   = "reserved_name"    // a package or data that is not the author's to define
	FaultHeader     = "forbidden_header" // a header that policies may not set or read
	FaultSetting    = "invalid_setting"  // settings or options that make no sense
	FaultSchema     = "invalid_schema"   // a schema that cannot be read
	FaultData       = "unknown_data"     // a reference to data that nothing provides
	FaultTimeZone   = "time_zone"        // a time zone that is not written out
	FaultBundle     = "invalid_bundle"   // a bundle that cannot be read, or holds what is not run here
	FaultPrint      = "print_call"       // print, which would be dropped without a word
)

// Fault is one thing that is wrong with a policy. File and Line are empty where
// it is not one place.
type Fault struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// String is file:line: code: message.
func (f Fault) String() string {
	where := ""
	if f.File != "" {
		where = fmt.Sprintf("%s:%d: ", f.File, f.Line)
	}
	return where + f.Code + ": " + f.Message
}

// Faults is the error of Compile, CompileAdmin and ReadBundle: everything that is wrong, in the order of the
// files, one to a line.
type Faults []Fault

// Error lists every fault.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

// err is nil where there is no fault, so that an empty list is never an error.
func (fs Faults) err() error {
	if len(fs) == 0 {
		return nil
	}
	slices.SortStableFunc(fs, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return slices.Compact(fs)
}

func (fs *Faults) add(code, format string, args ...any) {
	*fs = append(*fs, Fault{Code: code, Message: fmt.Sprintf(format, args...)})
}

func (fs *Faults) addAt(loc *ast.Location, code, format string, args ...any) {
	f := Fault{Code: code, Message: fmt.Sprintf(format, args...)}
	if loc != nil {
		f.File, f.Line = loc.File, loc.Row
	}
	*fs = append(*fs, f)
}

// addOPA takes OPA's errors apart: a list, one, or something else.
func (fs *Faults) addOPA(file string, err error) {
	switch e := err.(type) { //nolint:errorlint // OPA returns its types unwrapped
	case nil:
	case ast.Errors:
		for _, one := range e {
			fs.addOPA(file, one)
		}
	case *ast.Error:
		f := Fault{File: file, Code: e.Code, Message: e.Message + hint(e)}
		if e.Location != nil {
			f.File, f.Line = cmp.Or(e.Location.File, file), e.Location.Row
		}
		*fs = append(*fs, f)
	default:
		*fs = append(*fs, Fault{File: file, Code: ast.CompileErr, Message: err.Error()})
	}
}

// hint says what OPA's message leaves to guess.
func hint(e *ast.Error) string {
	switch {
	case strings.HasPrefix(e.Message, "undefined function "):
		return " (not a function of this policy, nor a built-in that policies may call)"
	case e.Message == "match error" && e.Details != nil:
		detail := strings.Join(strings.Fields(strings.Join(e.Details.Lines(), " ")), " ")
		if strings.Contains(detail, ": null") {
			detail += "; ask with is_null(...)"
		}
		return " (" + detail + ")"
	}
	return ""
}
