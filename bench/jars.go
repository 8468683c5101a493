package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// scriptFlags are those that Apache Kafka's start script gives every one of its Java
// processes.
const scriptFlags = "-server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35 -XX:+ExplicitGCInvokesConcurrent -Djava.awt.headless=true"

// errJars tells that something Java needs cannot be had.
var errJars = errors.New(`
############################################################################
##  THIS PART DID NOT RUN: Java, Maven or the jars cannot be had on this   ##
##  machine. The reason stands below.                                      ##
############################################################################`)

// mavenPatience is how long Maven may take to fetch what one class path needs.
const mavenPatience = 5 * time.Minute

// classPath lets Maven resolve a pom's dependencies, of one of its profiles if it has
// any, and returns their class path.
func classPath(ctx context.Context, pom, profile string) (string, error) {
	for _, program := range []string{"java", "mvn"} {
		if _, err := exec.LookPath(program); err != nil {
			return "", fmt.Errorf("%w\n%v", errJars, err)
		}
	}
	dir, err := os.MkdirTemp("", "tidemill-bench-maven-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "classpath")
	args := []string{"-q", "-B", "-f", pom, "-Dwork=" + dir, "dependency:build-classpath", "-Dmdep.outputFile=" + file}
	if profile != "" {
		args = append(args, "-P"+profile)
	}
	ctx, cancel := context.WithTimeout(ctx, mavenPatience)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "mvn", args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\nmvn: %v\n%s", errJars, err, bytes.TrimSpace(out))
	}
	text, err := os.ReadFile(file)
	return strings.TrimSpace(string(text)), err
}

// versionOf returns the version of an artifact in a class path.
func versionOf(path, artifact string) string {
	found := regexp.MustCompile(`/` + regexp.QuoteMeta(artifact) + `-([0-9][^/:]*)\.jar`).FindStringSubmatch(path)
	if found == nil {
		return "of unknown version"
	}
	return found[1]
}

// javaVersion returns the first line of `java -version`.
func javaVersion(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "java", "-version").CombinedOutput()
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}

// pluginDir makes a folder of a plugin's jars as Connect wants it. What Connect brings
// itself stays out.
func pluginDir(dir, path string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	brings := regexp.MustCompile(`^(connect-api|connect-json|kafka-clients|lz4-java|snappy-java|zstd-jni|slf4j-api|jakarta\.ws\.rs-api|javax\.ws\.rs-api)-[0-9]`)
	for _, jar := range filepath.SplitList(path) {
		if name := filepath.Base(jar); !brings.MatchString(name) {
			if err := os.Symlink(jar, filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}
