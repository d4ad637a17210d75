package scripted

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// Shell is the handler of sh and bash. It knows "-c SCRIPT", where the script is a list of known commands with plain
// or quoted words, separated by semicolons or "&&", each with an optional ">&2", and the builtin "exit". Variables,
// pipes, loops and the rest of a shell do not exist: a test that needs such a script answers it with [WithScript].
func Shell(ctx context.Context, p *Proc) int {
	script, ok := shellScript("sh", p.Argv)
	if !ok {
		_, _ = fmt.Fprintln(p.Stderr, "sh: only -c is known")
		return 2
	}
	steps, err := parse(script)
	if err != nil {
		_, _ = fmt.Fprintf(p.Stderr, "sh: %v\n", err)
		return 2
	}
	status := 0
	for _, s := range steps {
		if s.and && status != 0 {
			continue
		}
		if s.words[0] == "exit" {
			return exitStatus(s.words, status)
		}
		status = p.runStep(ctx, s)
		if ctx.Err() != nil {
			return status
		}
	}
	return status
}

func exitStatus(words []string, last int) int {
	if len(words) < 2 {
		return last
	}
	n, err := strconv.Atoi(words[1])
	if err != nil {
		return 2
	}
	return n & 255
}

// A step is one command of a script.
type step struct {
	words    []string
	and      bool // only after success
	toStderr bool
}

func (p *Proc) runStep(ctx context.Context, s step) int {
	c, err := p.process.runtime.resolve(s.words)
	if err != nil {
		_, _ = fmt.Fprintf(p.Stderr, "sh: %v\n", err)
		return 127
	}
	child := *p
	child.Argv = s.words
	if s.toStderr {
		child.Stdout = p.Stderr
	}
	return c.Run(ctx, &child)
}

// parse splits a script into steps.
func parse(script string) ([]step, error) {
	var steps []step
	next := step{}
	end := func(and bool) {
		if len(next.words) > 0 {
			steps = append(steps, next)
		}
		next = step{and: and}
	}
	for rest := strings.TrimSpace(script); rest != ""; rest = strings.TrimLeft(rest, " \t") {
		switch {
		case rest[0] == ';' || rest[0] == '\n':
			end(false)
			rest = rest[1:]
		case strings.HasPrefix(rest, "&&"):
			end(true)
			rest = rest[2:]
		case strings.HasPrefix(rest, ">&2"):
			next.toStderr = true
			rest = rest[3:]
		default:
			word, after, err := parseWord(rest)
			if err != nil {
				return nil, err
			}
			next.words = append(next.words, word)
			rest = after
		}
	}
	end(false)
	return steps, nil
}

// parseWord takes one word, of plain and quoted parts, from the front of a text.
func parseWord(text string) (word, rest string, err error) {
	for text != "" && !strings.ContainsRune(" \t\n;", rune(text[0])) {
		switch b := text[0]; {
		case b == '\'' || b == '"':
			part, after, ok := strings.Cut(text[1:], string(b))
			if !ok {
				return "", "", fmt.Errorf("unterminated quote %c", b)
			}
			word, text = word+part, after
		case strings.ContainsRune("|&<>$`()", rune(b)):
			return "", "", fmt.Errorf("%c is not understood by the scripted shell", b)
		default:
			word, text = word+string(b), text[1:]
		}
	}
	return word, text, nil
}
