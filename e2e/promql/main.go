// Reads PromQL with Prometheus' own parser: a JSON array of expressions in, for each what it asks of which series out.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/prometheus/prometheus/promql/parser"
)

type selector struct {
	Name   string   `json:"name"`
	Labels []string `json:"labels"`
}

type reading struct {
	Error     string     `json:"error,omitempty"`
	Selectors []selector `json:"selectors"`
	// Labels that an aggregation keeps or drops.
	Grouping []string `json:"grouping"`
}

func read(text string) reading {
	expression, err := parser.NewParser(parser.Options{}).ParseExpr(text)
	if err != nil {
		return reading{Error: err.Error()}
	}
	var found reading
	parser.Inspect(expression, func(node parser.Node, _ []parser.Node) error {
		switch node := node.(type) {
		case *parser.VectorSelector:
			one := selector{Labels: []string{}}
			for _, matcher := range node.LabelMatchers {
				if matcher.Name == "__name__" {
					one.Name = matcher.Value
				} else {
					one.Labels = append(one.Labels, matcher.Name)
				}
			}
			found.Selectors = append(found.Selectors, one)
		case *parser.AggregateExpr:
			found.Grouping = append(found.Grouping, node.Grouping...)
		}
		return nil
	})
	return found
}

func main() {
	var expressions []string
	if err := json.NewDecoder(os.Stdin).Decode(&expressions); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	readings := []reading{}
	for _, text := range expressions {
		readings = append(readings, read(text))
	}
	if err := json.NewEncoder(os.Stdout).Encode(readings); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
