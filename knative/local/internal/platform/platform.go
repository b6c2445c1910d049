package platform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"millrace/knative/local/internal/build"
	"millrace/knative/local/internal/gateway"
	"millrace/knative/local/internal/manifest"
	"millrace/knative/local/internal/process"
	"millrace/shared/kafka"
	"millrace/shared/objectstore"
	"millrace/shared/search"
)

// Names in the manifests whose values the platform sets.
const (
	namespace     = "millrace"
	configMapName = "millrace"
	secretName    = "millrace-s3"
	searchSecret  = "millrace-search"
	maskSecret    = "millrace-mask"
	catalogSecret = "millrace-catalog"
)

// grace is how long a process may take to end after SIGTERM.
const grace = 30 * time.Second

// Config is what the platform is told. Addresses are host:port.
type Config struct {
	// Root is the directory of the module, Dir the one for all data.
	Root string
	Dir  string
	// Manifests are files and directories of them. The provision job is one of them, or jobs/provision.yaml in one of them.
	Manifests []string
	// Listen is the gateway's address; Kafka, S3 and Search are those of the embedded servers.
	Listen, Kafka, S3, Search string
	// Tick is the time between two ticks of every PingSource.
	Tick time.Duration
	// Cron is the time between two runs of every CronJob, in place of its schedule; 0 is that none runs.
	Cron time.Duration
	// Feed is how many generated trips a new directory is fed with.
	Feed int
	// Servers are used in place of embedded ones.
	Servers Servers
	// Contracts is a directory of contracts that functions read beside the embedded ones; "" for none.
	Contracts string
	// Environment is what every process gets beside its manifest's variables: PATH, HOME and the like.
	Environment map[string]string
	// Out gets all output, with colours where Color is true.
	Out   io.Writer
	Color bool
	// Verbose tells of every process.
	Verbose bool
}

// Servers are the addresses of real servers; an empty one means the embedded server.
type Servers struct {
	KafkaBrokers     []string
	S3Endpoint       string
	S3Region         string
	ElasticsearchURL string
	// CatalogURL is the Iceberg catalog's, sqlite:FILE, postgres://... or http(s)://...; the default is a file in the directory. It may hold a password.
	CatalogURL string
	// TrinoURL is passed on; there is no embedded Trino.
	TrinoURL string
	// Kafka, Search and Keys are how real servers are reached, with absolute names of files.
	Kafka  kafka.Security
	Search search.Access
	Keys   objectstore.Keys
}

// Platform is one machine's Knative. Its methods are for dispatchers.
type Platform struct {
	cfg     Config
	set     *manifest.Set
	console *process.Console
	log     *slog.Logger
	router  *gateway.Router

	functions []*process.Function
	groups    []string // stage=group, of functions that read straight from Kafka
	binaries  map[string]string
	servers   Servers
	proxy     string                  // URL of the internal listener
	fail      context.CancelCauseFunc // stops the platform because a part of it has ended
	cleanup   []func(force context.Context) error
}

// Run runs the platform until ctx ends or a part of it fails, and then stops everything in order. The end of force, which must not
// come before that of ctx, kills what still runs. It returns nil where ctx ended and everything stopped well.
func Run(ctx, force context.Context, cfg Config, parts Parts) error {
	console := process.NewConsole(cfg.Out, cfg.Color, len("load-search"))
	level := slog.LevelInfo
	if cfg.Verbose {
		level = slog.LevelDebug
	}
	running, fail := context.WithCancelCause(ctx)
	p := &Platform{
		cfg: cfg, console: console, fail: fail,
		log: slog.New(slog.NewTextHandler(console.Prefixed("local"), &slog.HandlerOptions{Level: level, ReplaceAttr: withoutDate})),
	}
	err := p.run(running, force, parts)
	switch {
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		err = nil
	case running.Err() != nil:
		err = context.Cause(running)
	}
	if len(p.cleanup) > 1 { // more than the lock is to be given back
		p.log.Info("stopping; Ctrl-C stops at once")
	}
	for _, stop := range slices.Backward(p.cleanup) {
		err = errors.Join(err, stop(force))
	}
	return err
}

// withoutDate shortens the time of log lines for a terminal.
func withoutDate(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.String(slog.TimeKey, a.Value.Time().Format("15:04:05.000"))
	}
	return a
}

func (p *Platform) run(ctx, force context.Context, parts Parts) error {
	held, err := acquire(p.cfg.Dir)
	if err != nil {
		return err
	}
	p.onStop(func(context.Context) error { return held.Release() })
	if err := removeShell(p.cfg.Dir); err != nil { // of a platform that was killed
		return err
	}

	if p.set, err = manifest.Load(p.cfg.Manifests...); err != nil {
		return err
	}
	public, err := p.ports(ctx, parts)
	if err != nil {
		return err
	}
	if err := p.configure(); err != nil {
		return err
	}
	jobs, err := p.jobs()
	if err != nil {
		return err
	}
	if err := p.set.Check(); err != nil {
		return err
	}
	if err := p.leaveOut(ctx); err != nil {
		return err
	}
	if err := p.build(ctx, jobs); err != nil {
		return err
	}
	if err := p.openServers(ctx, parts); err != nil {
		return err
	}
	internal, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for functions: %w", err)
	}
	p.onStop(func(context.Context) error { return closed(internal.Close()) })
	p.proxy = "http://" + internal.Addr().String()
	if err := p.makeFunctions(); err != nil {
		return err
	}
	var dispatchers []Dispatcher
	for _, open := range parts.Dispatchers {
		dispatcher, err := open(p)
		if err != nil {
			return err
		}
		dispatchers = append(dispatchers, dispatcher)
	}
	p.handleJobSinks(ctx, force)
	p.serve(internal, p.router.Internal(http.DefaultTransport), "functions")
	p.onStop(p.stopFunctions)
	if jobs.provision != nil {
		p.log.Info("provisioning topics, buckets and templates")
		if err := p.RunJob(ctx, force, jobs.provision); err != nil {
			return err
		}
	}
	if err := p.writeShell("http://" + public.Addr().String()); err != nil {
		return err
	}
	if err := p.startFunctions(); err != nil {
		return err
	}
	for _, dispatcher := range dispatchers {
		p.dispatch(force, dispatcher)
	}
	p.serve(public, p.router.Public(), "gateway")
	p.runCronJobs(ctx, force)
	p.log.Info("running; Ctrl-C stops", "collect", "http://"+public.Addr().String(), "kafka", strings.Join(p.servers.KafkaBrokers, ","), "s3", p.servers.S3Endpoint, "search", redacted(p.servers.ElasticsearchURL))
	if err := p.feed(ctx, force, jobs.produce, "http://"+public.Addr().String()); err != nil {
		return err
	}
	p.suggest("http://" + public.Addr().String())
	<-ctx.Done()
	return ctx.Err()
}

// onStop adds a step to the end, which runs before those added earlier.
func (p *Platform) onStop(stop func(force context.Context) error) {
	p.cleanup = append(p.cleanup, stop)
}

// ports finds out that every address is free before the long work begins. It returns the gateway's listener.
func (p *Platform) ports(ctx context.Context, parts Parts) (net.Listener, error) {
	var errs []error
	gate, err := port{what: "the gateway", flag: "listen", addr: p.cfg.Listen}.listen(ctx)
	if err != nil {
		errs = append(errs, err)
	} else {
		p.onStop(func(context.Context) error { return closed(gate.Close()) })
	}
	for _, one := range []struct {
		port
		open     OpenPart
		external bool
		addr     *string
	}{
		{port{"the embedded Kafka", "kafka", "KAFKA_BROKERS", p.cfg.Kafka}, parts.Kafka, len(p.cfg.Servers.KafkaBrokers) > 0, &p.cfg.Kafka},
		{port{"the embedded object storage", "s3", "S3_ENDPOINT", p.cfg.S3}, parts.ObjectStore, p.cfg.Servers.S3Endpoint != "", &p.cfg.S3},
		{port{"the embedded search", "search", "ELASTICSEARCH_URL", p.cfg.Search}, parts.Search, p.cfg.Servers.ElasticsearchURL != "", &p.cfg.Search},
	} {
		if one.external {
			continue
		}
		if one.open == nil {
			errs = append(errs, fmt.Errorf("%s is not part of this build: name a server with %s", one.what, one.variable))
			continue
		}
		if *one.addr, err = one.check(ctx); err != nil {
			errs = append(errs, err)
		}
	}
	return gate, errors.Join(errs...)
}

// closed is the error of closing a listener that may have been closed before by its server.
func closed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// configure puts the servers' addresses and credentials into the manifests.
func (p *Platform) configure() error {
	p.servers = p.cfg.Servers
	if len(p.servers.KafkaBrokers) == 0 {
		p.servers.KafkaBrokers = []string{p.cfg.Kafka}
	}
	if p.servers.ElasticsearchURL == "" {
		p.servers.ElasticsearchURL = "http://" + p.cfg.Search
	}
	if p.servers.S3Endpoint == "" {
		p.servers.S3Endpoint, p.servers.S3Region = "http://"+p.cfg.S3, "us-east-1"
		c, err := credentials(p.cfg.Dir)
		if err != nil {
			return err
		}
		p.servers.Keys = objectstore.Keys{AccessKey: c.AccessKeyID, SecretKey: c.SecretAccessKey}
	}
	if p.servers.CatalogURL == "" {
		url, err := catalogURL(p.cfg.Dir)
		if err != nil {
			return err
		}
		p.servers.CatalogURL = url
	}
	values := map[string]string{
		"KAFKA_BROKERS": strings.Join(p.servers.KafkaBrokers, ","), "S3_ENDPOINT": p.servers.S3Endpoint, "ELASTICSEARCH_URL": p.servers.ElasticsearchURL,
		"ALLOW_FEWER_REPLICAS": "true",
	}
	if p.cfg.Contracts != "" {
		values["CONTRACTS"] = p.cfg.Contracts
	}
	if p.servers.S3Region != "" {
		values["S3_REGION"] = p.servers.S3Region
	}
	for name, value := range p.servers.settings() {
		if value != "" {
			values[name] = value
		}
	}
	p.set.Override(manifest.Key{Namespace: namespace, Name: configMapName}, values)
	for name, values := range p.servers.secrets() {
		maps.DeleteFunc(values, func(_, value string) bool { return value == "" })
		if len(values) > 0 {
			p.set.SetSecret(manifest.Key{Namespace: namespace, Name: name}, values)
		}
	}
	key, err := maskKey(p.cfg.Dir)
	if err != nil {
		return err
	}
	p.set.SetSecret(manifest.Key{Namespace: namespace, Name: maskSecret}, map[string]string{"MASK_KEY": key})
	return nil
}

// settings are the variables of the ConfigMap by which the servers are reached; an empty one is left out. Kafka's password is among them where it is no file's, since no function
// has a Secret of variables for it.
func (s *Servers) settings() map[string]string {
	k := s.Kafka
	settings := map[string]string{
		"KAFKA_CA_FILE": k.CAFile, "KAFKA_CERT_FILE": k.CertFile, "KAFKA_KEY_FILE": k.KeyFile, "KAFKA_SERVER_NAME": k.ServerName,
		"KAFKA_SASL_MECHANISM": k.Mechanism, "KAFKA_USER": k.User, "KAFKA_PASSWORD_FILE": k.PasswordFile, "KAFKA_PASSWORD": string(k.Password),
		"TRINO_URL": s.TrinoURL, "ELASTICSEARCH_CA": s.Search.CA, "ELASTICSEARCH_API_KEY_FILE": s.Search.APIKeyFile,
		"AWS_SHARED_CREDENTIALS_FILE": s.Keys.File, "S3_CA": s.Keys.CA,
	}
	if k.TLS {
		settings["KAFKA_TLS"] = "true"
	}
	if s.Keys.File != "" {
		settings["AWS_PROFILE"], settings["S3_PRIVATE_PROFILE"] = s.Keys.Profile, s.Keys.PrivateProfile
	}
	return settings
}

// secrets are the variables of Secrets, by the Secret's name.
func (s *Servers) secrets() map[string]map[string]string {
	return map[string]map[string]string{
		secretName: {
			"AWS_ACCESS_KEY_ID": s.Keys.AccessKey, "AWS_SECRET_ACCESS_KEY": s.Keys.SecretKey,
			"S3_PRIVATE_ACCESS_KEY_ID": s.Keys.PrivateAccessKey, "S3_PRIVATE_SECRET_ACCESS_KEY": s.Keys.PrivateSecretKey,
		},
		searchSecret:  {"ELASTICSEARCH_API_KEY": s.Search.APIKey},
		catalogSecret: {"CATALOG_URL": s.CatalogURL},
	}
}

// known are the jobs that the platform itself starts.
type known struct {
	provision *manifest.Job // nil where there is none
	produce   *manifest.Job // generates the feed; nil where nothing is to be fed
}

// jobs reads the provision job and makes the feed's.
func (p *Platform) jobs() (known, error) {
	var jobs known
	for _, dir := range p.cfg.Manifests {
		file := filepath.Join(dir, "jobs", "provision.yaml")
		if !exists(file) {
			continue
		}
		if err := p.set.Load(file); err != nil {
			return known{}, err
		}
	}
	jobs.provision = p.set.Jobs[manifest.Key{Namespace: namespace, Name: "provision"}]
	if p.cfg.Feed > 0 && !exists(p.fedFile()) {
		retries := 2
		jobs.produce = &manifest.Job{
			Object: manifest.Object{Metadata: manifest.Metadata{Name: "produce", Namespace: namespace}},
			Spec: manifest.JobSpec{BackoffLimit: &retries, Template: manifest.PodTemplate{Spec: manifest.PodSpec{Containers: []manifest.Container{{
				Image: build.Scheme + "millrace/functions/produce",
			}}}}},
		}
	}
	return jobs, nil
}

func (p *Platform) fedFile() string { return filepath.Join(p.cfg.Dir, "fed") }

// builder builds from this checkout into the directory.
func (p *Platform) builder() *build.Builder {
	return &build.Builder{Root: p.cfg.Root, Bin: filepath.Join(p.cfg.Dir, "bin"), Progress: p.console.Prefixed("build")}
}

// build builds what the Services, the Deployments, the CronJobs and the jobs need.
func (p *Platform) build(ctx context.Context, jobs known) error {
	var images []string
	for _, service := range p.set.Services {
		images = append(images, service.Container().Image)
	}
	for _, deployment := range p.set.Deployments {
		images = append(images, deployment.Container().Image)
	}
	for _, c := range p.set.CronJobs {
		images = append(images, c.Container().Image)
	}
	for _, s := range p.set.JobSinks {
		images = append(images, s.Container().Image)
	}
	for _, job := range p.set.Jobs {
		images = append(images, job.Container().Image)
	}
	if jobs.produce != nil {
		images = append(images, jobs.produce.Container().Image)
	}
	var err error
	p.binaries, err = p.builder().Build(ctx, images)
	return err
}

// openServers starts the embedded servers that are not replaced by real ones.
func (p *Platform) openServers(ctx context.Context, parts Parts) error {
	for _, one := range []struct {
		name, addr string
		external   bool
		open       OpenPart
	}{
		{"kafka", p.cfg.Kafka, len(p.cfg.Servers.KafkaBrokers) > 0, parts.Kafka},
		{"objectstore", p.cfg.S3, p.cfg.Servers.S3Endpoint != "", parts.ObjectStore},
		{"search", p.cfg.Search, p.cfg.Servers.ElasticsearchURL != "", parts.Search},
	} {
		if one.external {
			continue
		}
		part, err := one.open(ctx, PartConfig{
			Dir: filepath.Join(p.cfg.Dir, one.name), Addr: one.addr, Credentials: Credentials{AccessKeyID: p.servers.Keys.AccessKey, SecretAccessKey: p.servers.Keys.SecretKey}, Log: p.Logger(one.name),
			Fail: func(err error) { p.fail(fmt.Errorf("embedded %s: %w", one.name, err)) },
		})
		if err != nil {
			return fmt.Errorf("start the embedded %s: %w", one.name, err)
		}
		p.onStop(func(force context.Context) error {
			ctx, cancel := context.WithTimeout(force, drainTime)
			defer cancel()
			if err := part.Close(ctx); err != nil {
				return fmt.Errorf("close the embedded %s: %w", one.name, err)
			}
			return nil
		})
	}
	return nil
}

// makeFunctions makes a Function of every Service and every Deployment, without a process yet, and the router to the Services.
func (p *Platform) makeFunctions() error {
	if err := p.makeDeployments(); err != nil {
		return err
	}
	var routes []gateway.Route
	for _, service := range manifest.Sorted(p.set.Services) {
		name, container := service.Metadata.Name, service.Container()
		revision := name + "-00001"
		env, err := p.set.Environment(service.Metadata.Namespace, revision, container)
		if err != nil {
			return err
		}
		args := container.ExpandedArgs(env)
		maps.Copy(env, map[string]string{"K_SERVICE": name, "K_REVISION": revision, "K_CONFIGURATION": name})
		environ, err := p.environ(name, revision, container, env)
		if err != nil {
			return err
		}
		spec := process.Spec{
			Name: name, Path: p.binaries[container.Image], Dir: p.cfg.Root, Args: args, Env: environ,
			HTTP2: container.HTTP2(), MinScale: service.Scaling.MinScale, Concurrency: service.Spec.Template.Spec.ContainerConcurrency,
			Timeout: service.Spec.Template.Spec.Timeout(), Idle: service.Scaling.Window + service.Scaling.Retention, Grace: grace,
		}
		spec.ReadyPath = readyPath(container)
		function := process.New(spec, p.console.Prefixed(name), p.log)
		p.functions = append(p.functions, function)
		routes = append(routes, gateway.Route{Key: service.Key(), Public: service.Public(), Transport: function})
	}
	p.router = gateway.New(p.log, routes...)
	return nil
}

// makeDeployments makes a Function, always on, of every Deployment that has a replica. No request comes to them.
func (p *Platform) makeDeployments() error {
	for _, deployment := range manifest.Sorted(p.set.Deployments) {
		if !deployment.Runs() {
			continue
		}
		name, container := deployment.Metadata.Name, deployment.Container()
		env, err := p.set.Environment(deployment.Metadata.Namespace, name, container)
		if err != nil {
			return err
		}
		environ, err := p.environ(name, name, container, env)
		if err != nil {
			return err
		}
		p.groups = append(p.groups, groupsOf(name, env["INTAKE"])...)
		p.functions = append(p.functions, process.New(process.Spec{
			Name: name, Path: p.binaries[container.Image], Dir: p.cfg.Root, Args: container.ExpandedArgs(env), Env: environ,
			ReadyPath: readyPath(container), MinScale: 1, Grace: grace,
		}, p.console.Prefixed(name), p.log))
	}
	return nil
}

// readyPath is what a process is asked for readiness; "" where a connection is enough.
func readyPath(c *manifest.Container) string {
	if c.Readiness == nil || c.Readiness.HTTPGet == nil {
		return ""
	}
	return c.Readiness.HTTPGet.Path
}

// environ completes a process's variables: the manifest's win over the platform's.
func (p *Platform) environ(name, pod string, container *manifest.Container, env map[string]string) ([]string, error) {
	dir, err := filepath.Abs(p.cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", p.cfg.Dir, err)
	}
	temporary := filepath.Join(dir, "tmp", name)
	if err := os.MkdirAll(temporary, 0o755); err != nil {
		return nil, fmt.Errorf("make the directory for temporary files of %s: %w", name, err)
	}
	all := maps.Clone(p.cfg.Environment)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, map[string]string{"TMPDIR": temporary, "HOSTNAME": pod, "LISTEN_HOST": "127.0.0.1", "LOG_FORMAT": "text", "HTTP_PROXY": p.proxy, "NO_PROXY": p.direct()})
	if data := filepath.Join(p.cfg.Root, strings.TrimPrefix(container.Image, build.Scheme+"millrace/"), "kodata"); exists(data) {
		all["KO_DATA_PATH"] = data
	}
	maps.Copy(all, env)
	list := make([]string, 0, len(all))
	for key, value := range all {
		list = append(list, key+"="+value)
	}
	slices.Sort(list)
	return list, nil
}

// direct are the hosts of real servers, to which processes connect without the internal proxy.
func (p *Platform) direct() string {
	hosts := []string{"127.0.0.1", "localhost"}
	for _, address := range []string{p.servers.S3Endpoint, p.servers.ElasticsearchURL, p.servers.CatalogURL, p.servers.TrinoURL} {
		if u, err := url.Parse(address); err == nil && u.Hostname() != "" {
			hosts = append(hosts, u.Hostname())
		}
	}
	return strings.Join(hosts, ",")
}

// stopFunctions lets all functions finish and end.
func (p *Platform) stopFunctions(force context.Context) error {
	var stopping sync.WaitGroup
	for _, function := range p.functions {
		stopping.Go(func() { function.Stop(force) })
	}
	stopping.Wait()
	return nil
}

// startFunctions starts those with a min-scale, and all Deployments.
func (p *Platform) startFunctions() error {
	for _, function := range p.functions {
		if err := function.Start(); err != nil {
			return err
		}
	}
	return nil
}

// dispatch runs a dispatcher until the end.
func (p *Platform) dispatch(force context.Context, dispatcher Dispatcher) {
	ctx, cancel := context.WithCancel(force)
	done := make(chan error, 1)
	go func() {
		err := dispatcher.Run(ctx)
		if ctx.Err() == nil {
			p.fail(fmt.Errorf("event delivery ended: %w", cmpError(err)))
		}
		if errors.Is(err, context.Canceled) {
			err = nil
		}
		done <- err
	}()
	p.onStop(func(context.Context) error {
		cancel()
		return <-done
	})
}

// cmpError gives an end without an error a name.
func cmpError(err error) error {
	if err == nil {
		return errors.New("without being told to")
	}
	return err
}

// serve serves handler until the end, when it lets requests finish.
func (p *Platform) serve(listener net.Listener, handler http.Handler, name string) {
	server := newServer(handler, p.log)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			p.fail(fmt.Errorf("serve the %s: %w", name, err))
		}
	}()
	p.onStop(func(force context.Context) error {
		err := shutdown(force, server)
		<-done
		if err != nil {
			return fmt.Errorf("stop the %s: %w", name, err)
		}
		return nil
	})
}

// RunJob runs a Job of the manifests to its end. The end of ctx stops it by SIGTERM, that of force at once.
func (p *Platform) RunJob(ctx, force context.Context, job *manifest.Job) error {
	return p.runJob(ctx, force, job, nil, nil)
}

func (p *Platform) runJob(ctx, force context.Context, job *manifest.Job, args []string, extra map[string]string) error {
	name, container := job.Metadata.Name, job.Container()
	env, err := p.set.Environment(job.Metadata.Namespace, name, container)
	if err != nil {
		return err
	}
	maps.Copy(env, extra)
	environ, err := p.environ(name, name, container, env)
	if err != nil {
		return err
	}
	spec := process.JobSpec{
		Name: name, Path: p.binaries[container.Image], Dir: p.cfg.Root, Args: append(container.ExpandedArgs(env), args...), Env: environ,
		BackoffLimit: job.BackoffLimit(), Grace: grace, Kill: force.Done(),
	}
	if d := job.Spec.ActiveDeadlineSeconds; d != nil {
		spec.Deadline = time.Duration(*d) * time.Second
	}
	return process.RunJob(ctx, spec, p.console.Prefixed(name), p.log)
}

// One trip in a hundred is a bad one, so that there are dead letters to see. Only kinds that enrich refuses: those that collect
// refuses have no identity and would be there twice after a second feed.
const (
	feedBad   = "--bad-share=0.01"
	feedKinds = "--bad-kinds=wrong_type,missing_field,too_far,unknown_version,payload_not_object"
)

// feed sends generated trips through a new directory, once. A feed that fails is told and tried again at the next start: the
// generator is seeded, so the same events come again; on a later day search shows them under that day as well.
func (p *Platform) feed(ctx, force context.Context, job *manifest.Job, collect string) error {
	if job == nil {
		return nil
	}
	p.log.Info("feeding generated trips into the new directory", "count", p.cfg.Feed)
	args := []string{"generate", fmt.Sprintf("--max-record-count=%d", p.cfg.Feed), "--sleep-time=0", "--batch=100", "--concurrency=4", feedBad, feedKinds}
	err := p.runJob(ctx, force, job, args, map[string]string{"COLLECT_URL": collect})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		p.log.Error("the feed failed and is tried again at the next start", "error", err)
		return nil
	}
	p.awaitSearch(ctx)
	return writeFile(p.fedFile(), nil)
}

// searchPatience is how long the start waits for the feed to be searchable.
const searchPatience = 30 * time.Second

// awaitSearch waits until what was fed is in search, so that the first event that somebody tries does not queue behind it. It is a courtesy: when the time is up, or search
// cannot be asked, the start goes on.
func (p *Platform) awaitSearch(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, searchPatience)
	defer cancel()
	transport, err := p.servers.Search.Transport()
	if err != nil {
		p.log.Info("cannot find out whether the feed is searchable", "error", err)
		return
	}
	client := &http.Client{Transport: transport}
	ticker := time.NewTicker(250 * time.Millisecond)
	defer ticker.Stop()
	for {
		found, err := p.searchable(ctx, client)
		if err != nil || found >= p.cfg.Feed {
			if err != nil && ctx.Err() == nil {
				p.log.Info("cannot find out whether the feed is searchable", "error", err)
			}
			return
		}
		select {
		case <-ctx.Done():
			p.log.Info("the feed is not all searchable yet", "found", found, "of", p.cfg.Feed)
			return
		case <-ticker.C:
		}
	}
}

// searchable counts what is in search.
func (p *Platform) searchable(ctx context.Context, client *http.Client) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.servers.ElasticsearchURL+"/enriched-*,dead-*/_count", nil)
	if err != nil {
		return 0, fmt.Errorf("count documents: %w", err)
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, fmt.Errorf("count documents: %w", err)
	}
	defer func() { _ = res.Body.Close() }() // it was read
	if res.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("count documents: search answered %s", res.Status)
	}
	var answer struct{ Count int }
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&answer); err != nil {
		return 0, fmt.Errorf("count documents: %w", err)
	}
	return answer.Count, nil
}

// writeShell writes the file by which commands in another shell find the servers: the variables that functions have of the ConfigMap and the Secrets, and collect's address. It is
// removed at the end.
func (p *Platform) writeShell(collect string) error {
	name, err := filepath.Abs(shellFile(p.cfg.Dir))
	if err != nil {
		return fmt.Errorf("find %s: %w", p.cfg.Dir, err)
	}
	values := map[string]string{"COLLECT_URL": collect, "MILLRACE_ENV": name}
	if m := p.set.ConfigMaps[manifest.Key{Namespace: namespace, Name: configMapName}]; m != nil {
		maps.Copy(values, m.Data)
	}
	for _, name := range []string{secretName, searchSecret, catalogSecret} {
		if secret := p.set.Secrets[manifest.Key{Namespace: namespace, Name: name}]; secret != nil {
			maps.Copy(values, secret.Data)
		}
	}
	if err := writeFile(name, shellText(values)); err != nil {
		return err
	}
	p.onStop(func(context.Context) error { return removeShell(p.cfg.Dir) })
	return nil
}

// suggest prints what to try first.
func (p *Platform) suggest(collect string) {
	search := redacted(p.servers.ElasticsearchURL)
	groups := "" // reconcile knows those of the Triggers
	if len(p.groups) > 0 {
		groups = " --group " + strings.Join(p.groups, ",")
	}
	p.console.Print(fmt.Sprintf(suggestion, collect, time.Now().UTC().Format(time.RFC3339), search, search, shellPath(p.cfg.Dir), groups))
}

// stages are those of which replay reconcile is told the groups, by the function that reads them.
var stages = map[string][]string{"enrich": {"enrich"}, "load-search": {"load-search-enriched", "load-search-dead"}}

// groupsOf returns stage=group for what a function reads straight from Kafka, by its INTAKE; none where that is something else.
func groupsOf(function, intake string) []string {
	u, err := url.Parse(intake)
	if err != nil || u.Query().Get("group") == "" {
		return nil // the function itself says what is wrong with it
	}
	var groups []string
	for _, stage := range stages[function] {
		groups = append(groups, stage+"="+u.Query().Get("group"))
	}
	return groups
}

// redacted is the address without a password.
func redacted(address string) string {
	if u, err := url.Parse(address); err == nil {
		return u.Redacted()
	}
	return address
}

const suggestion = `
send one event:
  curl -s %s/api/v1/collect -d '{"event_type": "PageView", "schema_version": "0-0-1", "source": "/try", "id": "1", "payload": {"host": "example.com", "method": "GET", "url": "/", "status": 200, "visited_at": "%s"}}'
search it:
  curl -s '%s/enriched-*/_search?q=source:"/try"&filter_path=hits.hits._source'
see a dead letter and its reason:
  curl -s '%s/dead-*/_search?size=1&filter_path=hits.hits._source.failure,hits.hits._source.payload'
account for every event:
  (. %s && go run ./functions/replay reconcile --from 1h%s)

`

// Manifests returns the objects that run.
func (p *Platform) Manifests() *manifest.Set { return p.set }

// Brokers returns the addresses of the Kafka brokers.
func (p *Platform) Brokers() []string { return p.servers.KafkaBrokers }

// KafkaSecurity is how the brokers are reached.
func (p *Platform) KafkaSecurity() kafka.Security { return p.servers.Kafka }

// Tick is the time between two ticks of a PingSource.
func (p *Platform) Tick() time.Duration { return p.cfg.Tick }

// Logger returns a logger whose lines appear behind name.
func (p *Platform) Logger(name string) *slog.Logger {
	return slog.New(slog.NewTextHandler(p.console.Prefixed(name), &slog.HandlerOptions{ReplaceAttr: withoutDate}))
}

// Transport returns the way to functions by the URLs that manifests have, and to the rest of the world by its own.
func (p *Platform) Transport() http.RoundTripper { return p.router.Transport(http.DefaultTransport) }

// Do sends a request to a function; of its URL path and query count. It starts the function where it does not run and blocks until the
// answer begins. Its errors are those of [process.Function.RoundTrip], and *gateway.UnknownError.
func (p *Platform) Do(ctx context.Context, namespace, service string, req *http.Request) (*http.Response, error) {
	return p.router.Do(ctx, manifest.Key{Namespace: namespace, Name: service}, req)
}

// Handle gives requests of functions to a host of the cluster, such as a Broker's ingress, to handler. It must be called while the
// Dispatcher is made.
func (p *Platform) Handle(host string, handler http.Handler) { p.router.Handle(host, handler) }
