package postgres

import (
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/internal/devstack"
)

// Golden scripts, testdata/golden/*.test, say what comes of what is done to a real
// server. Each file has a database of its own and is a list of blocks, parted by empty
// lines:
//
//	<directive> [arguments]
//	lines of input
//	----
//	lines of what must come of it
//
// The part from ---- on may be left out where nothing comes of it. Lines that begin with # between blocks are
// comments. go test ./sources/postgres -run TestGolden -rewrite puts what came in the place of what
// was expected; read the difference before believing it.
//
//	server 15 18          the rest runs on these versions, one after the other (first block of the
//	                      file; 13 to 18; 15 without it)
//	config                name=value lines that hold for all starts after; name= takes a setting away
//	sql [session]         runs statements, each line or group of lines up to a ; at a line's end by
//	                      itself; what comes of it is the error, if any. Sessions with a name are opened
//	                      when they are first named, and keep their transactions open
//	query [session]       runs one query and shows its rows, one a line, columns parted by |
//	wait [session]        runs one query until it gives true
//	start                 starts a task with the settings, and name=value lines of its own, and waits
//	                      until it reads the log
//	records [form]        what came since the last such block, up to a mark which it writes into the log.
//	                      Forms: brief (default), one record a line: topic op key before after headers;
//	                      value, the whole value as JSON; until <table> <op> <id>, brief up to the
//	                      event of that row, leaving out records that are no events and repetitions
//	                      of <topic>..., brief, those of the topics named (without shop.)
//	schemas               the schemas of those records, each once in a script
//	commit                stores the positions of what came and tells the task
//	stop                  stops the task; what it has not handed over is lost, as after a kill
//	fails                 waits until the task fails, or does not start: code, place, message and mend
//	logs                  what the task warned of since the last such block
//	logged <text>         waits until the task has warned of something with this text, and shows it
//	shows <name>          the document that the task shows under this name
//	shown <name> <text>   waits until that document has this text in it
//	metric <name>...      counters of the task
//	validate              the errors of a validation, each with its setting
//
// What differs from run to run is masked: the database is called db, clocks
// <ts>, positions <lsn 1>, <lsn 2> and so on and transactions <tx 1> in the order in which
// they come, since equal ones must stay equal.
var rewrite = flag.Bool("rewrite", false, "rewrite what the golden scripts expect")

func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/golden/*.test")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".test"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			versions := []string{"15"}
			if blocks := parseGolden(string(text)); blocks[0].directive == "server" {
				versions = blocks[0].args
			}
			for _, version := range versions {
				t.Run(version, func(t *testing.T) { runGolden(t, file, version) })
			}
		})
	}
}

func runGolden(t *testing.T, file, version string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	blocks := parseGolden(string(text))
	g := newGolden(t)
	if major, _ := strconv.Atoi(version); major != 0 && major != 15 {
		g.db = openTestDB(t, devstack.TestPostgresVersion(t, major))
	}
	var out strings.Builder
	for i := range blocks {
		b := &blocks[i]
		if b.directive != "" {
			got := g.run(b)
			if got != b.want && !*rewrite {
				t.Errorf("%s:%d: %s\n--- got\n%s--- want\n%s", file, b.line, b.head, got, b.want)
			}
			b.want = got
		}
		b.write(&out)
	}
	if *rewrite && out.String() != string(text) {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// goldenBlock is one block of a script, or a comment with everything around it,
// which has no directive.
type goldenBlock struct {
	line      int
	head      string // The first line.
	directive string
	args      []string
	input     []string
	want      string
	ruled     bool // It has a ---- line.
}

func parseGolden(text string) (blocks []goldenBlock) {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i := 0; i < len(lines); {
		b := goldenBlock{line: i + 1, head: lines[i]}
		i++
		if strings.HasPrefix(b.head, "#") || b.head == "" {
			blocks = append(blocks, b)
			continue
		}
		words := strings.Fields(b.head)
		b.directive, b.args = words[0], words[1:]
		for ; i < len(lines) && lines[i] != "" && lines[i] != "----"; i++ {
			b.input = append(b.input, lines[i])
		}
		if i < len(lines) && lines[i] == "----" {
			b.ruled = true
			for i++; i < len(lines) && lines[i] != ""; i++ {
				b.want += lines[i] + "\n"
			}
		}
		blocks = append(blocks, b)
	}
	return blocks
}

func (b *goldenBlock) write(out *strings.Builder) {
	out.WriteString(b.head + "\n")
	for _, line := range b.input {
		out.WriteString(line + "\n")
	}
	if b.ruled || b.want != "" {
		out.WriteString("----\n" + b.want)
	}
}
