// The peer: metrics.k8s.io as a server on k8s.io/apiserver serves it, with every wire rule upstream's own code.
//
// It keeps its objects in etcd behind the watch cache, as any aggregated API server does that is written with the library, and
// asks kube-apiserver who is calling and whether they may. Differential tests send it the requests that they send to Outrigger;
// benchmarks measure it beside Outrigger. It is no metrics server: whoever wants objects in it puts them there.
//
// `peer decode` is the other half of a judge: it reads protobuf with upstream's decoder and prints JSON.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/component-base/cli"
)

func main() {
	options := newOptions()
	command := &cobra.Command{
		Use:          "peer",
		Short:        "metrics.k8s.io/v1beta1 on k8s.io/apiserver, for tests",
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(*cobra.Command, []string) error {
			server, err := options.server()
			if err != nil {
				return err
			}
			return server.PrepareRun().RunWithContext(genericapiserver.SetupSignalContext())
		},
	}
	options.addFlags(command.Flags())
	command.AddCommand(&cobra.Command{
		Use:          "decode",
		Short:        "for each line, a base64 of protobuf bytes, print its JSON on a line",
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE:         func(*cobra.Command, []string) error { return decode(os.Stdin, os.Stdout) },
	})
	if code := cli.Run(command); code != 0 {
		fmt.Fprintln(os.Stderr, "peer: exit", code)
		os.Exit(code)
	}
}
