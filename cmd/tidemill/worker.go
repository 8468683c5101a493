package main

import (
	"context"
	"errors"
	"maps"

	"github.com/spf13/cobra"

	"github.com/tidemill/tidemill/config"
	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/worker"
)

func (a *app) workerCommand() *cobra.Command {
	var file string
	var standalone, insecure bool
	cmd := &cobra.Command{
		Use:   "worker [CONNECTOR.json|CONNECTOR.properties]...",
		Short: "Run a worker, as connect-distributed and connect-standalone do",
		Long: `Runs a Kafka Connect worker. -c takes an unchanged connect-distributed.properties, or the same settings as
JSON or YAML; CONNECT_GROUP_ID in the environment stands for group.id, and so on, and wins over the file.

With --standalone the worker keeps its offsets in offset.storage.file.filename and runs the connectors whose
files are given; without, it keeps everything in Kafka and is told of connectors over REST.

The REST interface listens on 127.0.0.1 unless listeners says otherwise. Where other machines can reach it, it
asks who they are (docs/security.md, tidemill user --help); without any way to ask, the worker does not start,
unless --insecure says that whoever reaches it may do everything.`,
		Example: `  tidemill worker -c connect-distributed.properties
  tidemill worker --standalone -c connect-standalone.properties shop.json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if insecure {
				return a.worker(cmd.Context(), workerArgs{file, standalone, args, connect.Config{"rest.insecure": "true"}})
			}
			return a.worker(cmd.Context(), workerArgs{file, standalone, args, nil})
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "the worker's settings: .properties, .json or .yaml")
	cmd.Flags().BoolVar(&standalone, "standalone", false, "run as a standalone worker")
	cmd.Flags().BoolVar(&insecure, "insecure", false, "let whoever reaches the REST interface do everything, also from other machines")
	return cmd
}

// workerArgs are what a worker is told on the command line; over wins over its file.
type workerArgs struct {
	file       string
	standalone bool
	connectors []string
	over       connect.Config
}

func (a *app) worker(ctx context.Context, given workerArgs) error {
	if len(given.connectors) > 0 && !given.standalone {
		return badInput(&connect.Error{Code: "usage", Place: "tidemill worker", Message: "connector files are for standalone workers",
			Mend: "add --standalone, or POST them to /connectors"})
	}
	raw, err := loadSettings(given.file)
	if err != nil {
		return badInput(err)
	}
	maps.Copy(raw, given.over)
	var requests []worker.CreateRequest
	for _, path := range given.connectors {
		found, err := config.LoadConnectors(path)
		if err != nil {
			return badInput(err)
		}
		for _, c := range found {
			requests = append(requests, worker.CreateRequest{Name: c.Name, Config: c.Config, InitialState: worker.TargetState(c.InitialState)})
		}
	}
	n, err := newNode(nodeOptions{raw: raw, standalone: given.standalone, connectors: requests, log: a.logger()})
	if err != nil {
		return err
	}
	if err := n.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
