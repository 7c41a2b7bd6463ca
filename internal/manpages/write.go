package manpages

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Set is what all pages of a program have in common.
type Set struct {
	// Version stands at the foot of each page.
	Version string
	// Date stands there as well.
	Date time.Time
	// Files are paths and what they are, for the page of the program itself.
	Files [][2]string
}

// Write writes the pages of root and of all visible commands below it into
// dir, which it makes if need be.
func (s Set) Write(root *cobra.Command, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the folder of the pages: %w", err)
	}
	for _, command := range Visible(root) {
		path := filepath.Join(dir, Name(command)+".1")
		if err := os.WriteFile(path, []byte(s.page(command)), 0o644); err != nil {
			return fmt.Errorf("write a page: %w", err)
		}
	}
	return nil
}

// Visible returns a command and those below it that are for people, but for
// cobra's own help.
func Visible(command *cobra.Command) []*cobra.Command {
	list := []*cobra.Command{command}
	for _, below := range command.Commands() {
		if below.IsAvailableCommand() && below.Name() != "help" {
			list = append(list, Visible(below)...)
		}
	}
	return list
}

// Name returns the name of a command's page, such as lazymig-cert-ca.
func Name(command *cobra.Command) string {
	return strings.ReplaceAll(command.CommandPath(), " ", "-")
}

// page returns a page. Each section is left out if it would be empty.
func (s Set) page(command *cobra.Command) string {
	var p page
	p.line(".TH", quote(strings.ToUpper(Name(command))), "1", s.Date.Format(time.DateOnly), quote("lazymig "+s.Version), quote("User Commands"))
	p.section("NAME")
	p.line(escape(Name(command)) + ` \- ` + escape(command.Short))
	p.section("SYNOPSIS")
	p.line(".B", escape(synopsis(command)))
	p.section("DESCRIPTION")
	p.prose(command.Long)
	p.commands(command)
	p.options(command)
	if !command.HasParent() && len(s.Files) > 0 {
		p.section("FILES")
		for _, file := range s.Files {
			p.term(`\fI`+escape(file[0])+`\fR`, file[1])
		}
	}
	if command.Example != "" {
		p.section("EXAMPLES")
		p.verbatim(strings.Split(command.Example, "\n"))
	}
	p.seeAlso(command)
	return p.text.String()
}

func synopsis(command *cobra.Command) string {
	if command.HasAvailableSubCommands() {
		return command.CommandPath() + " COMMAND"
	}
	return command.UseLine()
}

func (p *page) commands(command *cobra.Command) {
	for i, below := range Visible(command)[1:] {
		if i == 0 {
			p.section("COMMANDS")
		}
		if below.Runnable() && !below.HasAvailableSubCommands() {
			p.term(`\fB`+escape(Name(below))+`\fR(1)`, below.Short)
		}
	}
}

func (p *page) options(command *cobra.Command) {
	command.InitDefaultHelpFlag()
	p.section("OPTIONS")
	command.LocalFlags().VisitAll(func(flag *pflag.Flag) {
		if flag.Hidden {
			return
		}
		value, usage := pflag.UnquoteUsage(flag)
		name := escape("--" + flag.Name)
		if flag.Shorthand != "" {
			name = escape("-"+flag.Shorthand) + `\fR, \fB` + name
		}
		name = `\fB` + name + `\fR`
		if value != "" {
			name += ` \fI` + escape(value) + `\fR`
		}
		if d := flag.DefValue; d != "" && d != "false" && d != "0" {
			usage += " (default " + d + ")"
		}
		p.term(name, usage)
	})
}

// seeAlso names the command above, and those beside and below.
func (p *page) seeAlso(command *cobra.Command) {
	var near []*cobra.Command
	if parent := command.Parent(); parent != nil {
		near = append(near, parent)
		near = append(near, parent.Commands()...)
	}
	near = append(near, command.Commands()...)
	var names []string
	for _, c := range near {
		if c != command && (c.IsAvailableCommand() || !c.HasParent()) && c.Name() != "help" {
			names = append(names, `\fB`+escape(Name(c))+`\fR(1)`)
		}
	}
	if len(names) > 0 {
		p.section("SEE ALSO")
		p.line(strings.Join(names, ",\n"))
	}
}
