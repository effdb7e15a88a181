// An independent judge of the image: go-containerregistry's validation of the layout (what `crane validate` does), and BuildKit's own
// reading of the Dockerfile.
//
//	go run . LAYOUT DOCKERFILE
package main

import (
	"bytes"
	"fmt"
	"os"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

func main() {
	if len(os.Args) != 3 {
		fail("usage: judge LAYOUT DOCKERFILE")
	}
	if err := image(os.Args[1]); err != nil {
		fail("%s: %v", os.Args[1], err)
	}
	if err := dockerfile(os.Args[2]); err != nil {
		fail("%s: %v", os.Args[2], err)
	}
}

// image reads every blob: digests, sizes, media types, platforms, and layers against the config's diff ids.
func image(path string) error {
	index, err := layout.ImageIndexFromPath(path)
	if err != nil {
		return err
	}
	return validate.Index(index)
}

// dockerfile parses stages and their instructions with BuildKit's lint rules; a warning fails.
func dockerfile(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	file, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		return err
	}
	for _, warning := range file.Warnings {
		return fmt.Errorf("%s", warning.Short)
	}
	var found error
	lint := linter.New(&linter.Config{
		Warn: func(rule, _, _, message string, at []parser.Range) {
			found = fmt.Errorf("%v: %s: %s", at, rule, message)
		},
	})
	stages, _, err := instructions.Parse(file.AST, lint)
	if err != nil {
		return err
	}
	if found == nil && len(stages) != 2 {
		found = fmt.Errorf("%d stages, not 2", len(stages))
	}
	return found
}

func fail(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, "judge: "+format+"\n", arguments...)
	os.Exit(1)
}
