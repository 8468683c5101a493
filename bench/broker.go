package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/devstack"
)

// broker is where records go: a process of its own, or one that is not ours.
type broker struct {
	process *process // Nil for one that is not ours.
	addrs   string
	name    string
	// before are the topics of a broker that is not ours, which stay.
	before map[string]bool
}

// startBroker starts the broker that kafka names, with its data in dir.
func startBroker(ctx context.Context, binary, kafka, dir string) (*broker, error) {
	switch kafka {
	case "", "embedded":
		return startEmbedded(ctx, binary, dir)
	case "apache":
		return startApache(ctx, dir)
	}
	b := &broker{addrs: kafka, name: "the broker at " + kafka, before: map[string]bool{}}
	names, err := b.topics(ctx)
	for _, name := range names {
		b.before[name] = true
	}
	return b, err
}

func startEmbedded(ctx context.Context, binary, dir string) (*broker, error) {
	port, err := devstack.FreePort()
	if err != nil {
		return nil, err
	}
	b := &broker{addrs: fmt.Sprintf("127.0.0.1:%d", port), name: "embedded (kfake), in a process of its own"}
	if b.process, err = start(binary, "dev-kafka", "--port", fmt.Sprint(port), "--data-dir", filepath.Join(dir, "kafka")); err != nil {
		return nil, err
	}
	if err := b.process.listens(ctx, b.addrs); err != nil {
		b.stop()
		return nil, err
	}
	return b, nil
}

// apacheSettings make one KRaft node. Only what a single node needs differs from Apache
// Kafka's defaults.
const apacheSettings = `process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:%[2]d
listeners=PLAINTEXT://127.0.0.1:%[1]d,CONTROLLER://127.0.0.1:%[2]d
advertised.listeners=PLAINTEXT://127.0.0.1:%[1]d
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=%[3]s
num.partitions=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
`

// startApache starts one node of Apache Kafka with the jars that the project's tests
// use too, and the heap of its own start script.
func startApache(ctx context.Context, dir string) (*broker, error) {
	path, err := classPath(ctx, "internal/testenv/kafka/pom.xml", "")
	if err != nil {
		return nil, err
	}
	port, err := devstack.FreePort()
	if err != nil {
		return nil, err
	}
	controller, err := devstack.FreePort()
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "server.properties")
	if err := os.WriteFile(file, fmt.Appendf(nil, apacheSettings, port, controller, filepath.Join(dir, "kafka")), 0o600); err != nil {
		return nil, err
	}
	format, err := start("java", "-cp", path, "kafka.tools.StorageTool", "format", "--cluster-id", "dGlkZW1pbGwtYmVuY2gtMQ", "--config", file)
	if err != nil {
		return nil, err
	}
	<-format.done
	if !format.cmd.ProcessState.Success() {
		return nil, fmt.Errorf("preparing Apache Kafka: %s", format.output.last(10))
	}
	b := &broker{addrs: fmt.Sprintf("127.0.0.1:%d", port), name: "Apache Kafka " + versionOf(path, "kafka-clients") + " (KRaft, one node, -Xms1G -Xmx1G)"}
	if b.process, err = start("java", append(strings.Fields("-Xms1G -Xmx1G "+scriptFlags), "-cp", path, "kafka.Kafka", file)...); err != nil {
		return nil, err
	}
	if err := b.process.until(ctx, "Apache Kafka", func() bool { return b.process.output.contains("Kafka Server started") }); err != nil {
		b.stop()
		return nil, err
	}
	return b, nil
}

func (b *broker) stop() {
	if b.process != nil {
		b.process.stop()
		return
	}
	// Whoever owns it wants it back as it was, also after a Ctrl-C.
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	names, err := b.topics(ctx)
	var ours []string
	for _, name := range names {
		if !b.before[name] {
			ours = append(ours, name)
		}
	}
	if err == nil {
		err = b.remove(ctx, ours...)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: topics stay on", b.addrs+":", err)
	}
}

// cpu returns the processor time the broker has used; that of one that is not ours is
// not known.
func (b *broker) cpu() time.Duration {
	if b.process == nil {
		return 0
	}
	return processorTime(b.process.cmd.Process.Pid)
}

// admin calls do with a client for administration. It looks for new topics often: by
// default it would notice one up to five seconds late.
func (b *broker) admin(do func(*kadm.Client) error) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(b.addrs), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		return err
	}
	defer client.Close()
	return do(kadm.NewClient(client))
}

func (b *broker) topics(ctx context.Context) (names []string, err error) {
	err = b.admin(func(admin *kadm.Client) error {
		details, err := admin.ListTopics(ctx)
		names = details.Names()
		return err
	})
	return names, err
}

// create makes topics of one partition, compacted if settings say so.
func (b *broker) create(ctx context.Context, settings map[string]*string, names ...string) error {
	return b.createOf(ctx, 1, settings, names...)
}

// createOf makes topics of so many partitions.
func (b *broker) createOf(ctx context.Context, partitions int32, settings map[string]*string, names ...string) error {
	return b.admin(func(admin *kadm.Client) error {
		made, err := admin.CreateTopics(ctx, partitions, 1, settings, names...)
		if err != nil {
			return err
		}
		var all []error
		for _, t := range made {
			all = append(all, t.Err)
		}
		return errors.Join(all...)
	})
}

// remove deletes topics, so that no round is slowed by what earlier ones left.
func (b *broker) remove(ctx context.Context, names ...string) error {
	if len(names) == 0 {
		return nil
	}
	return b.admin(func(admin *kadm.Client) error {
		_, err := admin.DeleteTopics(ctx, names...)
		return err
	})
}
