package compose

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const whole = `
name: shop
x-base: &base
  working_dir: /srv
services:
  web:
    <<: *base
    image: nginx
    build: .
    command: sh -c 'echo "$$HOME" a\ b'
    environment: [A=1, "B=x=y"]
    depends_on: {db: {condition: service_healthy, restart: true}, cache: {condition: service_started}}
    ports: ["80:80"]
    expose: [80]
    labels: {a: b}
    x-note: anything
  cache: {image: redis, entrypoint: [redis-server], command: [--port, 1], environment: {N: 1, E: ""}}
  db:
    image: postgres
    healthcheck: {test: [CMD-SHELL, pg_isready], interval: 5s, timeout: 1m, retries: 4, start_period: 11s}
    deploy:
      resources: {limits: {cpus: 1.5, memory: 512M}, reservations: {cpus: "0.5"}}
`

func TestTranslate(t *testing.T) {
	defaults := &sandboxv1.ResourceRequirements{Requests: &sandboxv1.Resources{Cpu: "1"}}
	got, err := Translate(Input{
		Contents: []byte(whole), Primary: "web", Images: map[string]string{"cache": "valkey"}, Defaults: defaults,
	})
	require.NoError(t, err)
	want := []*sandboxv1.Container{
		{
			Name: "db", Image: "postgres",
			StartupProbe: &sandboxv1.Probe{
				Exec: []string{"/bin/sh", "-c", "pg_isready"}, PeriodSeconds: 5, TimeoutSeconds: 60, FailureThreshold: 4 + 3,
			},
			ResourceRequirements: &sandboxv1.ResourceRequirements{
				Requests: &sandboxv1.Resources{Cpu: "0.5"}, Limits: &sandboxv1.Resources{Cpu: "1.5", Memory: "512Mi"},
			},
		},
		{
			Name: "cache", Image: "valkey", Command: "redis-server", Args: []string{"--port", "1"},
			EnvironmentVariables: map[string]string{"N": "1", "E": ""}, ResourceRequirements: defaults,
		},
		{
			Name: "web", Image: "nginx", Command: "sh", Args: []string{"-c", `echo "$HOME" a\ b`}, WorkingDir: "/srv",
			EnvironmentVariables: map[string]string{"A": "1", "B": "x=y"}, Primary: proto.Bool(true), ResourceRequirements: defaults,
		},
	}
	require.Len(t, got, len(want))
	for i := range want {
		assert.True(t, proto.Equal(want[i], got[i]), "%v", got[i])
	}
}

func TestHealthchecks(t *testing.T) {
	for text, want := range map[string]*sandboxv1.Probe{
		"{test: exit 0}": {Exec: []string{"/bin/sh", "-c", "exit 0"}, PeriodSeconds: 30, TimeoutSeconds: 30, FailureThreshold: 3},
		"{test: [CMD, a, b], start_period: 30s}": {
			Exec: []string{"a", "b"}, PeriodSeconds: 30, TimeoutSeconds: 30, FailureThreshold: 4,
		},
		"{test: [NONE]}":                  nil,
		"{test: [CMD, a], disable: true}": nil,
	} {
		got, err := Translate(Input{Contents: []byte("services: {a: {image: i, healthcheck: " + text + "}}"), Primary: "a"})
		require.NoError(t, err, text)
		assert.True(t, proto.Equal(want, got[0].GetStartupProbe()), "%s: %v", text, got)
	}
}

func TestRefused(t *testing.T) {
	for _, row := range []struct {
		document string
		unserved bool
		want     string
	}{
		{"a: [", false, "not a YAML document"},
		{"[]", false, "document: "},
		{"{}", false, "services: must hold at least one service"},
		{"services: []", false, "services: must hold at least one service"},
		{"services: {a: {image: [x]}}", false, "services.a: "},
		{"services: {a: {image: i}, a: {image: j}}", false, "already defined"},
		{"services: {a: {image: i, depends_on: [b]}}", false, `services.a.depends_on: there is no service "b"`},
		{"services: {a: {image: i, depends_on: [b]}, b: {image: i, depends_on: [a]}}", false, `services.b.depends_on: "a" depends on`},
		{"services: {a: {image: i, environment: [HOME]}}", false, "variable HOME has no value"},
		{"services: {a: {image: i, environment: {HOME: }}}", false, "variable HOME has no value"},
		{"services: {a: {image: i, command: \"a 'b\"}}", false, "a quote is not closed"},
		{"services: {a: {image: i, healthcheck: {test: [x]}}}", false, "services.a.healthcheck.test: must begin with CMD"},
		{"services: {a: {image: i, healthcheck: {}}}", false, "services.a.healthcheck.test: must be a command"},
		{"services: {a: {image: i, healthcheck: {test: x, interval: 1500ms}}}", false, "interval: must be in whole seconds"},
		{"services: {a: {image: i, healthcheck: {test: x, timeout: soon}}}", false, "timeout: must be a duration"},
		{"services: {a: {image: i, healthcheck: {test: x, retries: 0}}}", false, "retries: must be at least 1"},
		{"services: {a: {image: i, deploy: {resources: {limits: {memory: much}}}}}", false, "limits.memory: must be an amount"},

		{"", false, "not a YAML document"},
		{"services: {a: {image: i, environment: {" + strings.Repeat("A,", 100_000) + "}}}", false, "services.a.environment.A: is already defined"},
		{"x: &x [*x]\nservices: {a: {image: i}}", false, "document: must have at most"},
		{bomb(), false, "document: must have at most"},

		{"services: {a: {image: i}}\n---\nservices: {b: {image: i}}", true, "a second document"},
		{"services: {a: {image: i, command: [" + strings.Repeat("$x,", 40_000) + "]}}", true, `the variable in "$x"`},
		{"services: {a: {image: i, depends_on: {b: {condition: service_started, after: 1s}}}, b: {image: i}}", true, "services.a.depends_on.b.after"},
		{"volumes: {v: {}}\nservices: {a: {image: i, volumes: [v:/v], networks: [n]}}", true, "volumes; services.a.networks; services.a.volumes"},
		{"services: {a: {image: i, healthcheck: {test: x, start_interval: 1s}}}", true, "services.a.healthcheck.start_interval"},
		{"services: {a: {image: i, deploy: {replicas: 2, resources: {limits: {pids: 1}}}}}", true, "services.a.deploy.replicas; services.a.deploy.resources.limits.pids"},
		{"services: {a: {build: .}}", true, "services.a: a service without an image"},
		{"services: {a: {image: \"i:${TAG}\"}}", true, `services.a.image: the variable in "i:${TAG}"`},
		{"services: {a: {image: i, depends_on: {b: {condition: service_completed_successfully}}}, b: {image: i}}", true, "condition service_completed_successfully"},
	} {
		_, err := Translate(Input{Contents: []byte(row.document), Primary: "a"})
		var e *Error
		require.ErrorAs(t, err, &e, row.document)
		assert.Equal(t, row.unserved, e.Unserved, row.document)
		assert.ErrorContains(t, err, row.want, row.document)
		assert.NotContains(t, err.Error(), "\n")
	}
	for field, in := range map[string]Input{
		"primary_service": {Primary: "b"},
		"image_overrides": {Primary: "a", Images: map[string]string{"b": "i"}},
	} {
		in.Contents = []byte("services: {a: {image: i}}")
		_, err := Translate(in)
		var e *UnknownServiceError
		require.ErrorAs(t, err, &e)
		assert.Equal(t, UnknownServiceError{field, "b"}, *e)
	}
}

// bomb is a document whose every service is a copy of one with many variables.
func bomb() string {
	var b strings.Builder
	b.WriteString("services:\n  a: &a {image: i, environment: {")
	for i := range 10_000 {
		fmt.Fprintf(&b, "A%d: , ", i)
	}
	b.WriteString("}}\n")
	for i := range 10_000 {
		fmt.Fprintf(&b, "  s%d: *a\n", i)
	}
	return b.String()
}

func TestAliases(t *testing.T) {
	const document = `
x-name: &db database
x-variable: &variable A=$$1
x-test: &test [CMD, check]
services:
  web: {image: nginx, depends_on: [*db], environment: [*variable, *variable], healthcheck: {test: *test}}
  db: {image: other}
  database: &service {image: postgres}
  copy: *service
`
	got, err := Translate(Input{Contents: []byte(document), Primary: "web"})
	require.NoError(t, err)
	require.Len(t, got, 4)
	var names []string
	for _, c := range got {
		names = append(names, c.GetName()+" "+c.GetImage())
	}
	assert.Equal(t, []string{"database postgres", "web nginx", "db other", "copy postgres"}, names)
	assert.Equal(t, map[string]string{"A": "$1"}, got[1].GetEnvironmentVariables())
	assert.Equal(t, []string{"check"}, got[1].GetStartupProbe().GetExec())
}

func TestSplit(t *testing.T) {
	for text, want := range map[string]string{
		"":                 "",
		"  a  b\t c\n":     "a|b|c",
		`a"b c"d 'e f'`:    "ab cd|e f",
		`"" ''`:            "|",
		`a\ b "\"\x" '\n'`: `a b|"\x|\n`,
	} {
		got, err := split(text)
		require.NoError(t, err)
		assert.Equal(t, want, strings.Join(got, "|"), text)
	}
	for _, text := range []string{`"a`, `'a`, `a\`} {
		_, err := split(text)
		require.Error(t, err, text)
	}
}

func FuzzTranslate(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte("services: {a: &a {image: i, <<: *a}}"))
	f.Fuzz(func(t *testing.T, contents []byte) {
		containers, err := Translate(Input{Contents: contents, Primary: "web"})
		if err == nil {
			require.NotEmpty(t, containers)
		}
	})
}
