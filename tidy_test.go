package lazymig_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module = "github.com/lazymig/lazymig"

	maxFileLines     = 500
	maxFunctionLines = 70
	maxMainLines     = 30
)

// allowed says what the product code of each folder may import beside the
// standard library. "." is the root package, a path that begins with ./ is
// one of ours; /... means everything below; "*" is anything, and what stands
// behind a "!" is taken away again. The longest matching folder decides.
var allowed = map[string][]string{
	".":             {},
	"uffd":          {".", "golang.org/x/sys/..."},
	"pagecache":     {".", "golang.org/x/sys/...", "github.com/zeebo/blake3", "github.com/FastFilter/xorfilter"},
	"prefetch":      {"."},
	"quictransport": {".", "./internal/wire", "github.com/quic-go/quic-go/...", "golang.org/x/sys/..."},
	"failover":      {".", "golang.org/x/sys/..."},

	"internal/wire":            {"."},
	"internal/vmm":             {".", "golang.org/x/sys/..."},
	"internal/vmm/x86":         {},
	"internal/vmm/process":     {"./internal/vmm", "golang.org/x/sys/..."},
	"internal/vmm/qmp":         {".", "golang.org/x/sys/..."},
	"internal/vmm/qemu":        {".", "./uffd", "./internal/vmm", "./internal/vmm/x86", "./internal/vmm/process", "./internal/vmm/qmp", "golang.org/x/sys/..."},
	"internal/vmm/firecracker": {".", "./uffd", "golang.org/x/sys/..."},
	"internal/vmm/microvm":     {".", "./uffd", "./internal/vmm", "./internal/vmm/process", "./internal/vmm/firecracker", "golang.org/x/sys/..."},
	"internal/migrate":         {"*", "!./bench/...", "!./cmd/...", "!./internal/agent/..."},
	"internal/relay":           {"golang.org/x/sys/..."},
	"internal/doctor": {
		".", "./uffd", "./failover", "./quictransport", "./internal/migrate",
		"./internal/vmm", "./internal/vmm/process", "./internal/vmm/qmp", "./internal/vmm/qemu", "golang.org/x/sys/...",
	},
	"internal/metrics": {".", "./failover", "./internal/migrate", "github.com/prometheus/client_golang/...", "golang.org/x/net/netutil"},
	"internal/agent":   {".", "./internal/migrate", "./internal/metrics", "./pagecache", "./quictransport", "golang.org/x/sys/..."},

	"examples":          {},
	"internal/install":  {},
	"internal/manpages": {"github.com/spf13/cobra", "github.com/spf13/pflag"},
	"internal/demo":     {"*", "!./cmd/...", "!./internal/agent/..."},

	"bench":       {"*", "!./cmd/..."},
	"cmd/lazymig": {"*"},
}

// library lists the folders whose exported names must be documented.
var library = []string{".", "uffd", "pagecache", "prefetch", "quictransport", "failover"}

// foreign are words that mean nothing to a reader of this repository: paths
// of one machine, papers and hosts that are not in it. The bar keeps a word
// from being found here.
var foreign = []string{
	"/wo|rk/", "/tmp/|w/", "/tmp/|bash_jobs", "/ro|ot/", "DES|IGN.md", "DES|IGN §", "ANC|HORS.md",
	"ALGO|RITHMS.md", "STY|LE.md", "iss|ue 2", "proxy.|golang.org", "sum.|golang.org",
}

// source is one parsed Go file.
type source struct {
	name string // path from the root
	file *ast.File
	set  *token.FileSet
}

func (s source) test() bool     { return strings.HasSuffix(s.name, "_test.go") }
func (s source) folder() string { return path.Dir(s.name) }

func (s source) lines(n ast.Node) int {
	return s.set.Position(n.End()).Line - s.set.Position(n.Pos()).Line + 1
}

// TestTidy checks those rules of the codebase that a program can check.
func TestTidy(t *testing.T) {
	folders := parseAll(t)
	for _, folder := range slices.Sorted(maps.Keys(folders)) {
		t.Run(folder, func(t *testing.T) {
			checkPackageComment(t, folders[folder])
			for _, s := range folders[folder] {
				checkCalls(t, s)
				if s.test() {
					continue
				}
				checkSizes(t, s)
				checkImports(t, s)
				if slices.Contains(library, folder) {
					checkExportedComments(t, s)
				}
			}
		})
	}
}

// TestForeignWords keeps paths of developers' machines out of the repository.
func TestForeignWords(t *testing.T) {
	for name := range walk(t) {
		if strings.HasSuffix(name, ".sum") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, marked := range foreign {
			word := strings.ReplaceAll(marked, "|", "")
			if i := bytes.Index(text, []byte(word)); i >= 0 {
				t.Errorf("%s:%d: %q means nothing here", name, bytes.Count(text[:i], []byte("\n"))+1, word)
			}
		}
	}
}

// walk yields every file of the repository, by its path from the root.
func walk(t *testing.T) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && slices.Contains([]string{".git", ".cache", "bin", "build", "dist"}, name):
				return fs.SkipDir
			case name == ".git": // a worktree has a file there
			case d.Type().IsRegular() && !yield(filepath.ToSlash(name)):
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func parseAll(t *testing.T) map[string][]source {
	set := token.NewFileSet()
	folders := map[string][]source{}
	for name := range walk(t) {
		if path.Ext(name) != ".go" || strings.Contains(name, "testdata/") {
			continue
		}
		file, err := parser.ParseFile(set, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		s := source{name: name, file: file, set: set}
		folders[s.folder()] = append(folders[s.folder()], s)
	}
	return folders
}

func checkPackageComment(t *testing.T, sources []source) {
	for _, s := range sources {
		if path.Base(s.name) == "doc.go" && s.file.Doc != nil {
			return
		}
	}
	t.Errorf("%s: needs a doc.go with a package comment", sources[0].folder())
}

func checkSizes(t *testing.T, s source) {
	if n := s.set.File(s.file.Pos()).LineCount(); n > maxFileLines {
		t.Errorf("%s: %d lines, at most %d: split it by what it is about", s.name, n, maxFileLines)
	}
	for _, d := range s.file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		limit := maxFunctionLines
		if f.Name.Name == "main" && f.Recv == nil {
			limit = maxMainLines
		}
		if n := s.lines(f); n > limit {
			t.Errorf("%s: %s has %d lines, at most %d", s.name, f.Name.Name, n, limit)
		}
	}
}

func checkImports(t *testing.T, s source) {
	rules, ok := rulesFor(s.folder())
	if !ok {
		t.Errorf("%s: add the folder and what it may import to tidy_test.go", s.folder())
		return
	}
	for _, spec := range s.file.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		base := path.Base(s.name)
		switch {
		case name == "C":
			t.Errorf("%s: the product has no cgo", s.name)
		case name == "unsafe" && base != "abi_linux.go" && !strings.HasSuffix(base, "_unsafe.go"):
			t.Errorf("%s: unsafe belongs into abi_linux.go or *_unsafe.go", s.name)
		case !mayImport(rules, name):
			t.Errorf("%s: %s may not import %s", s.name, s.folder(), name)
		}
	}
}

func rulesFor(folder string) ([]string, bool) {
	for f := folder; ; f = path.Dir(f) {
		if rules, ok := allowed[f]; ok && (f != "." || folder == ".") {
			return rules, true
		}
		if f == "." {
			return nil, false
		}
	}
}

func mayImport(rules []string, name string) bool {
	own := name == module || strings.HasPrefix(name, module+"/")
	if first, _, _ := strings.Cut(name, "/"); !own && !strings.Contains(first, ".") {
		return true // standard library
	}
	if own {
		name = "." + strings.TrimPrefix(name, module)
	}
	may := false
	for _, rule := range rules {
		if taken, not := strings.CutPrefix(rule, "!"); not {
			may = may && !matches(taken, name)
		} else {
			may = may || rule == "*" || matches(rule, name)
		}
	}
	return may
}

func matches(rule, name string) bool {
	if tree, ok := strings.CutSuffix(rule, "/..."); ok {
		return name == tree || strings.HasPrefix(name, tree+"/")
	}
	return rule == name
}

// checkCalls finds calls of functions that have no place in a file.
func checkCalls(t *testing.T, s source) {
	ast.Inspect(s.file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := sel.X.(*ast.Ident)
		if !ok {
			return true
		}
		at := s.set.Position(n.Pos())
		switch x.Name + "." + sel.Sel.Name {
		case "time.Sleep":
			if s.test() {
				t.Errorf("%s: wait for an event with a deadline instead of time.Sleep", at)
			}
		case "os.Exit":
			if !s.test() && s.file.Name.Name != "main" {
				t.Errorf("%s: os.Exit belongs into main", at)
			}
		}
		return true
	})
}

// checkExportedComments wants a comment on every exported declaration; one on
// a group of constants or variables speaks for all of them.
func checkExportedComments(t *testing.T, s source) {
	missing := func(n ast.Node, name string) {
		t.Errorf("%s: exported %s has no comment", s.set.Position(n.Pos()), name)
	}
	for _, d := range s.file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) {
				missing(d, d.Name.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				if name, doc := exportedSpec(spec); name != "" && d.Doc == nil && doc == nil {
					missing(spec, name)
				}
			}
		}
	}
}

func exportedReceiver(f *ast.FuncDecl) bool {
	if f.Recv == nil {
		return true
	}
	receiver := f.Recv.List[0].Type
	if star, ok := receiver.(*ast.StarExpr); ok {
		receiver = star.X
	}
	name, ok := receiver.(*ast.Ident)
	return !ok || name.IsExported()
}

func exportedSpec(spec ast.Spec) (name string, doc *ast.CommentGroup) {
	switch spec := spec.(type) {
	case *ast.TypeSpec:
		if spec.Name.IsExported() {
			return spec.Name.Name, spec.Doc
		}
	case *ast.ValueSpec:
		for _, n := range spec.Names {
			if n.IsExported() {
				if spec.Doc == nil {
					return n.Name, spec.Comment
				}
				return n.Name, spec.Doc
			}
		}
	}
	return "", nil
}
