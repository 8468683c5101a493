package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/tidemill/tidemill/config"
	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/worker"
)

func (a *app) workerCommand() *cobra.Command {
	var file string
	var standalone bool
	cmd := &cobra.Command{
		Use:   "worker [CONNECTOR.json|CONNECTOR.properties]...",
		Short: "Run a worker, as connect-distributed and connect-standalone do",
		Long: `Runs a Kafka Connect worker. -c takes an unchanged connect-distributed.properties, or the same settings as
JSON or YAML; CONNECT_GROUP_ID in the environment stands for group.id, and so on, and wins over the file.

With --standalone the worker keeps its offsets in offset.storage.file.filename and runs the connectors whose
files are given; without, it keeps everything in Kafka and is told of connectors over REST.`,
		Example: `  tidemill worker -c connect-distributed.properties
  tidemill worker --standalone -c connect-standalone.properties shop.json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.worker(cmd.Context(), file, standalone, args)
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "the worker's settings: .properties, .json or .yaml")
	cmd.Flags().BoolVar(&standalone, "standalone", false, "run as a standalone worker")
	return cmd
}

func (a *app) worker(ctx context.Context, file string, standalone bool, connectors []string) error {
	if len(connectors) > 0 && !standalone {
		return badInput(&connect.Error{Code: "usage", Place: "tidemill worker", Message: "connector files are for standalone workers",
			Mend: "add --standalone, or POST them to /connectors"})
	}
	raw, err := loadSettings(file)
	if err != nil {
		return badInput(err)
	}
	var requests []worker.CreateRequest
	for _, path := range connectors {
		found, err := config.LoadConnectors(path)
		if err != nil {
			return badInput(err)
		}
		for _, c := range found {
			requests = append(requests, worker.CreateRequest{Name: c.Name, Config: c.Config, InitialState: worker.TargetState(c.InitialState)})
		}
	}
	n, err := newNode(nodeOptions{raw: raw, standalone: standalone, connectors: requests, log: a.logger()})
	if err != nil {
		return err
	}
	if err := n.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
