package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/rest/auth"
)

func (a *app) userCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user",
		Short: "Keep the files of users and tokens that may use the REST interface",
		Long: `Keeps the files that rest.basic.auth.file and rest.token.file name: of users with hashes of their passwords
(bcrypt, as htpasswd -B writes them), and of tokens for programs. A worker that runs sees each change at once.
What somebody may do stands in the worker's setting rest.roles; docs/security.md tells more.`,
		Example: `  tidemill user add ann --file users.htpasswd
  tidemill user token deploy --file tokens
  tidemill user remove ann --file users.htpasswd
  tidemill user list --file users.htpasswd`,
	}
	cmd.AddCommand(a.userAddCommand(), a.userTokenCommand(), a.userRemoveCommand(), a.userListCommand())
	return cmd
}

// fileFlag adds the flag for the file that a command keeps.
func fileFlag(cmd *cobra.Command, file *string) *cobra.Command {
	cmd.Flags().StringVar(file, "file", "", "the file to keep (needed)")
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *file == "" {
			return badInput(&connect.Error{Code: "usage", Place: cmd.CommandPath(), Message: "which file is to be kept?", Mend: "name it with --file"})
		}
		return run(cmd, args)
	}
	return cmd
}

func (a *app) userAddCommand() *cobra.Command {
	var file string
	return fileFlag(&cobra.Command{
		Use: "add NAME", Short: "Add a user, or give one another password", Args: cobra.ExactArgs(1),
		Long: `Adds a user to a file, or gives one that is there another password. The password is asked for, or, when the
input is no terminal, read from it as one line; it is never an argument, which everybody on the machine could see.`,
		Example: `  tidemill user add ann --file users.htpasswd
  tidemill user add ann --file users.htpasswd < password.txt`,
		RunE: func(_ *cobra.Command, args []string) error {
			password, err := a.askPassword(os.Stdin)
			if err != nil {
				return badInput(err)
			}
			line, err := auth.HashPassword(args[0], password)
			if err != nil {
				return badInput(err)
			}
			if err := rewriteLines(file, func(lines []string) []string { return append(without(lines, args[0]), line) }); err != nil {
				return badInput(err)
			}
			a.told("user", args[0], "file", file)
			return nil
		},
	}, &file)
}

func (a *app) userTokenCommand() *cobra.Command {
	var file string
	return fileFlag(&cobra.Command{
		Use: "token NAME", Short: "Make a token for a program", Args: cobra.ExactArgs(1),
		Long: `Makes a token, prints it this once, and adds its digest to a file. A name may have several tokens, so that one can
be replaced without a gap; tidemill user remove takes all of them away.`,
		Example: `  tidemill user token deploy --file tokens
  curl -H "Authorization: Bearer $TOKEN" https://connect.example:8443/connectors`,
		RunE: func(_ *cobra.Command, args []string) error {
			token, line, err := auth.NewToken(args[0])
			if err != nil {
				return badInput(err)
			}
			if err := rewriteLines(file, func(lines []string) []string { return append(lines, line) }); err != nil {
				return badInput(err)
			}
			if a.json {
				writeJSON(a.out, map[string]string{"user": args[0], "file": file, "token": token})
				return nil
			}
			fmt.Fprintln(a.out, token)
			return nil
		},
	}, &file)
}

func (a *app) userRemoveCommand() *cobra.Command {
	var file string
	return fileFlag(&cobra.Command{
		Use: "remove NAME", Short: "Remove a user, or all tokens of a name", Args: cobra.ExactArgs(1),
		Example: `  tidemill user remove ann --file users.htpasswd`,
		RunE: func(_ *cobra.Command, args []string) error {
			found := false
			err := rewriteLines(file, func(lines []string) []string {
				left := without(lines, args[0])
				found = len(left) < len(lines)
				return left
			})
			if err != nil {
				return badInput(err)
			}
			if !found {
				return badInput(&connect.Error{Code: "user.unknown", Place: file, Message: "it has no user " + args[0], Mend: "tidemill user list --file " + file})
			}
			a.told("removed", args[0], "file", file)
			return nil
		},
	}, &file)
}

func (a *app) userListCommand() *cobra.Command {
	var file string
	return fileFlag(&cobra.Command{
		Use: "list", Short: "List the names in a file of users or tokens", Args: cobra.NoArgs,
		Example: `  tidemill user list --file users.htpasswd -o json`,
		RunE: func(*cobra.Command, []string) error {
			lines, err := readLines(file)
			if err != nil {
				return badInput(err)
			}
			names := []string{}
			for _, line := range lines {
				if name, _, ok := strings.Cut(line, ":"); ok && !strings.HasPrefix(line, "#") && !slices.Contains(names, name) {
					names = append(names, name)
				}
			}
			slices.Sort(names)
			if a.json {
				writeJSON(a.out, names)
				return nil
			}
			for _, name := range names {
				fmt.Fprintln(a.out, name)
			}
			return nil
		},
	}, &file)
}

// told says what was done.
func (a *app) told(what, name, where, file string) {
	if a.json {
		writeJSON(a.out, map[string]string{what: name, where: file})
		return
	}
	fmt.Fprintln(a.out, what, name, "in", file)
}

// askPassword reads a password, twice from a terminal, once from elsewhere.
func (a *app) askPassword(in *os.File) (string, error) {
	if !term.IsTerminal(int(in.Fd())) {
		line, err := bufio.NewReader(io.LimitReader(in, 4096)).ReadString('\n')
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			return "", errors.Join(errors.New("the input holds no password"), err)
		}
		return line, nil
	}
	fmt.Fprint(a.err, "Password: ")
	first, err := term.ReadPassword(int(in.Fd()))
	if err != nil {
		return "", err
	}
	fmt.Fprint(a.err, "\nAgain: ")
	second, err := term.ReadPassword(int(in.Fd()))
	fmt.Fprintln(a.err)
	switch {
	case err != nil:
		return "", err
	case !bytes.Equal(first, second):
		return "", errors.New("the two are not the same")
	case len(first) == 0:
		return "", errors.New("the password is empty")
	}
	return string(first), nil
}

// without returns the lines but those of a name.
func without(lines []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(line string) bool { return strings.HasPrefix(line, name+":") })
}

func readLines(file string) ([]string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	text := strings.TrimRight(string(data), "\r\n")
	if text == "" {
		return nil, nil
	}
	return strings.Split(text, "\n"), nil
}

// rewriteLines changes a file's lines, or makes the file. Whoever reads it meanwhile sees
// all of it as it was or as it is.
func rewriteLines(file string, change func([]string) []string) error {
	lines, err := readLines(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	mode := os.FileMode(0o600)
	if info, err := os.Stat(file); err == nil {
		mode = info.Mode().Perm()
	}
	text := strings.Join(change(lines), "\n") + "\n"
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // It has another name by then, unless something failed.
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
