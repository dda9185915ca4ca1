package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// markdown is docs/pgresync.md: the same texts as --help. cobra's own generator
// makes a file for every command, and brings a Markdown parser for man pages.
func markdown(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("# pgresync\n\nThe operator's command. This page is generated from the code by `make docs`; `pgresync --help` says the same.\n")
	page(&b, root)
	b.WriteString(`
## Shell completion

` + "`pgresync completion bash|zsh|fish|powershell`" + ` prints a script; ` + "`pgresync completion bash --help`" + ` says where to put it. Node names
are completed by asking the cluster.
`)
	return b.String()
}

func page(b *strings.Builder, c *cobra.Command) {
	if c.HasParent() {
		fmt.Fprintf(b, "\n## %s\n", c.CommandPath())
	}
	text := c.Long
	if text == "" {
		text = strings.ToUpper(c.Short[:1]) + c.Short[1:] + "."
	}
	fmt.Fprintf(b, "\n%s\n", text)
	if c.Runnable() {
		fmt.Fprintf(b, "\n```\n%s\n```\n", c.UseLine())
	}
	if c.HasExample() {
		fmt.Fprintf(b, "\n```sh\n%s\n```\n", dedent(c.Example))
	}
	if flags := c.NonInheritedFlags(); flags.HasAvailableFlags() {
		fmt.Fprintf(b, "\n```\n%s```\n", flags.FlagUsages())
	}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "completion" {
			page(b, sub)
		}
	}
}

func dedent(s string) string {
	var lines []string
	for line := range strings.SplitSeq(s, "\n") {
		lines = append(lines, strings.TrimPrefix(line, "  "))
	}
	return strings.Join(lines, "\n")
}
