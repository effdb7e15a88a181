// Informers: what client-go's caches hold of one resource (`--api`), for a test that compares it with LIST.
//
// Three shared informers on it, as controllers use them: typed, dynamic and metadata-only. Each is filled by
// WatchList, client-go's default, unless the server refuses it. Each line of input asks for a line of output:
// `{"typed": {…}, "dynamic": {…}, "metadata": {…}}`, where a cache is `{"synced", "lists", "watches", "streamed", "events",
// "version", "back", "objects"}`, objects are name → what this client can see of it, and `back` says whose version went
// back from one event to the next.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	metrics "k8s.io/metrics/pkg/apis/metrics/v1beta1"
	metricsclient "k8s.io/metrics/pkg/client/clientset/versioned"
	wardle "k8s.io/sample-apiserver/pkg/apis/wardle/v1beta1"
	wardleclient "k8s.io/sample-apiserver/pkg/generated/clientset/versioned"
)

// api is a resource and its kind as the three clients know it.
type api struct {
	version  schema.GroupVersion
	resource string
	kind     string
	typed    func(*rest.Config, string) (client, error)
}

// client lists and watches one resource in one namespace.
type client struct {
	example runtime.Object
	of      interface{}
	list    func(context.Context, metav1.ListOptions) (runtime.Object, error)
	watch   func(context.Context, metav1.ListOptions) (watch.Interface, error)
}

var apis = map[string]api{
	"pods":     {metrics.SchemeGroupVersion, "pods", "PodMetrics", pods},
	"flunders": {wardle.SchemeGroupVersion, "flunders", "Flunder", flunders},
}

// held is one informer and what it did.
type held struct {
	informer               cache.SharedIndexInformer
	lists, watches, events atomic.Int64
	streamed               atomic.Int64

	mu       sync.Mutex
	versions map[string]uint64
	back     []string
}

type shown struct {
	Synced   bool                       `json:"synced"`
	Lists    int64                      `json:"lists"`
	Watches  int64                      `json:"watches"`
	Streamed int64                      `json:"streamed"`
	Events   int64                      `json:"events"`
	Version  string                     `json:"version"`
	Back     []string                   `json:"back"`
	Objects  map[string]json.RawMessage `json:"objects"`
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "who we are and where to")
	namespace := flag.String("namespace", metav1.NamespaceAll, "one namespace alone")
	name := flag.String("api", "pods", "which resource: pods (of metrics.k8s.io) or flunders")
	flag.Parse()
	if err := run(context.Background(), *kubeconfig, *namespace, *name); err != nil {
		fmt.Fprintln(os.Stderr, "informers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, kubeconfig, namespace, name string) error {
	of, known := apis[name]
	if !known {
		return fmt.Errorf("no api %q", name)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	all, err := caches(config, of, namespace)
	if err != nil {
		return err
	}
	for name, one := range all {
		_ = one.informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, r *cache.Reflector, err error) {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			cache.DefaultWatchErrorHandler(ctx, r, err)
		})
		if _, err := one.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    one.saw,
			UpdateFunc: func(_, object interface{}) { one.saw(object) },
			DeleteFunc: one.saw,
		}); err != nil {
			return err
		}
		go one.informer.RunWithContext(ctx)
	}
	questions, answers := bufio.NewScanner(os.Stdin), json.NewEncoder(os.Stdout)
	for questions.Scan() {
		answer := map[string]shown{}
		for name, one := range all {
			if answer[name], err = one.show(); err != nil {
				return err
			}
		}
		if err := answers.Encode(answer); err != nil {
			return err
		}
	}
	return questions.Err()
}

func caches(config *rest.Config, of api, namespace string) (map[string]*held, error) {
	t, err := of.typed(config, namespace)
	if err != nil {
		return nil, err
	}
	d, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	m, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	partial := &metav1.PartialObjectMetadata{}
	partial.SetGroupVersionKind(of.version.WithKind(of.kind))
	resource := of.version.WithResource(of.resource)
	return map[string]*held{
		"typed": hold(t),
		"dynamic": hold(client{&unstructured.Unstructured{}, d,
			func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				return d.Resource(resource).Namespace(namespace).List(ctx, o)
			},
			d.Resource(resource).Namespace(namespace).Watch}),
		"metadata": hold(client{partial, m,
			func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				return m.Resource(resource).Namespace(namespace).List(ctx, o)
			},
			m.Resource(resource).Namespace(namespace).Watch}),
	}, nil
}

func pods(config *rest.Config, namespace string) (client, error) {
	protobuf := rest.CopyConfig(config)
	protobuf.ContentType = runtime.ContentTypeProtobuf
	protobuf.AcceptContentTypes = strings.Join([]string{runtime.ContentTypeProtobuf, runtime.ContentTypeJSON}, ",")
	c, err := metricsclient.NewForConfig(protobuf)
	if err != nil {
		return client{}, err
	}
	in := c.MetricsV1beta1().PodMetricses(namespace)
	return client{&metrics.PodMetrics{}, c,
		func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return in.List(ctx, o) },
		in.Watch}, nil
}

// Upstream's own client; it has no protobuf.
func flunders(config *rest.Config, namespace string) (client, error) {
	c, err := wardleclient.NewForConfig(config)
	if err != nil {
		return client{}, err
	}
	in := c.WardleV1beta1().Flunders(namespace)
	return client{&wardle.Flunder{}, c,
		func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return in.List(ctx, o) },
		in.Watch}, nil
}

func hold(by client) *held {
	one := &held{versions: map[string]uint64{}, back: []string{}}
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			one.lists.Add(1)
			return by.list(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			if o.SendInitialEvents != nil && *o.SendInitialEvents {
				one.streamed.Add(1)
			} else {
				one.watches.Add(1)
			}
			return by.watch(ctx, o)
		},
	}
	// The client is asked whether it can stream lists; fakes cannot, these can.
	one.informer = cache.NewSharedIndexInformer(cache.ToListWatcherWithWatchListSemantics(lw, by.of), by.example, 0, cache.Indexers{})
	return one
}

// saw holds an event against the one before of the same object.
func (h *held) saw(object interface{}) {
	h.events.Add(1)
	if unknown, missed := object.(cache.DeletedFinalStateUnknown); missed {
		object = unknown.Obj
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	accessor, err := meta.Accessor(object)
	if err != nil {
		h.back = append(h.back, err.Error())
		return
	}
	name := accessor.GetNamespace() + "/" + accessor.GetName()
	version, err := strconv.ParseUint(accessor.GetResourceVersion(), 10, 64)
	if err != nil || version < h.versions[name] {
		h.back = append(h.back, fmt.Sprintf("%s: %s after %d", name, accessor.GetResourceVersion(), h.versions[name]))
	}
	h.versions[name] = version
}

func (h *held) show() (shown, error) {
	made := shown{
		Synced: h.informer.HasSynced(), Version: h.informer.LastSyncResourceVersion(), Objects: map[string]json.RawMessage{},
		Lists: h.lists.Load(), Watches: h.watches.Load(), Streamed: h.streamed.Load(), Events: h.events.Load(),
	}
	h.mu.Lock()
	made.Back = append([]string{}, h.back...)
	h.mu.Unlock()
	for _, object := range h.informer.GetStore().List() {
		accessor, err := meta.Accessor(object)
		if err != nil {
			return made, err
		}
		text, err := json.Marshal(object)
		if err != nil {
			return made, err
		}
		made.Objects[accessor.GetNamespace()+"/"+accessor.GetName()] = text
	}
	return made, nil
}
