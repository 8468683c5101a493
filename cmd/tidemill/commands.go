package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/tidemill/tidemill/connect"
)

// commands builds the command tree: one line for each command.
func (a *app) commands() *cobra.Command {
	var output string
	root := &cobra.Command{
		Use:           "tidemill",
		Short:         "Stream PostgreSQL into Kafka, derive tables, ask them",
		Long:          "Tidemill runs Kafka Connect's connectors, captures PostgreSQL as Debezium does, derives tables as Kafka Streams does and speaks ksqlDB's SQL: in one binary.",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			e := &connect.Error{Code: "usage", Place: "tidemill", Message: "there is no command " + args[0], Mend: "tidemill --help"}
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				e.Mend = "did you mean " + near[0] + "?"
			}
			return badInput(e)
		},
		PersistentPreRunE: func(*cobra.Command, []string) error {
			switch output {
			case "json":
				a.json = true
			case "text":
			default:
				return badInput(connect.ConfigError("--output", "there is no output format %q; use text or json", output))
			}
			return nil
		},
	}
	f := root.PersistentFlags()
	f.StringVarP(&output, "output", "o", "text", "format of results: text or json")
	f.BoolVar(&a.json, "json", false, "same as -o json")
	f.BoolVar(&a.plain, "no-color", false, "no colours, no glyphs beyond ASCII")
	f.BoolVarP(&a.verbose, "verbose", "v", false, "log more")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return badInput(&connect.Error{Code: "usage", Place: cmd.CommandPath(), Message: err.Error(), Mend: cmd.CommandPath() + " --help"})
	})
	root.AddCommand(
		a.demoCommand(),
		a.devCommand(),
		a.devKafkaCommand(),
		a.workerCommand(),
		a.streamsCommand(),
		a.dlqCommand(),
		a.logsCommand(),
		a.peekCommand(),
		a.offsetsCommand(),
		a.doctorCommand(),
		a.verifyCommand(),
		a.userCommand(),
		a.versionCommand(),
	)
	usage(root)
	return root
}

// usage makes wrong arguments of every command bad input.
func usage(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		usage(sub)
		check := sub.Args
		if check == nil {
			continue
		}
		sub.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return badInput(&connect.Error{Code: "usage", Place: cmd.CommandPath(), Message: err.Error(), Mend: cmd.CommandPath() + " --help"})
			}
			return nil
		}
	}
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Run: func(*cobra.Command, []string) {
			if a.json {
				writeJSON(a.out, map[string]string{"version": version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH})
				return
			}
			fmt.Fprintf(a.out, "tidemill %s (%s, %s/%s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		},
	}
}
