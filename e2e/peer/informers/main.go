// Informers: what client-go's caches hold of pods.metrics.k8s.io, for a test that compares it with LIST.
//
// Three shared informers on one resource, as controllers use them: typed, dynamic and metadata-only. Each is filled by
// WatchList, client-go's default, unless the server refuses it. Each line of input asks for a line of output:
// `{"typed": {…}, "dynamic": {…}, "metadata": {…}}`, where a cache is `{"synced", "relists", "version", "objects"}` and
// objects are name → what this client can see of it.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
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
	"k8s.io/metrics/pkg/apis/metrics/v1beta1"
	typed "k8s.io/metrics/pkg/client/clientset/versioned"
)

var pods = schema.GroupVersionResource{Group: v1beta1.GroupName, Version: "v1beta1", Resource: "pods"}

// held is one informer and what it did.
type held struct {
	informer               cache.SharedIndexInformer
	lists, watches, events atomic.Int64
	streamed               atomic.Int64
}

type shown struct {
	Synced   bool                       `json:"synced"`
	Lists    int64                      `json:"lists"`
	Watches  int64                      `json:"watches"`
	Streamed int64                      `json:"streamed"`
	Events   int64                      `json:"events"`
	Version  string                     `json:"version"`
	Objects  map[string]json.RawMessage `json:"objects"`
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "who we are and where to")
	namespace := flag.String("namespace", metav1.NamespaceAll, "one namespace alone")
	flag.Parse()
	if err := run(context.Background(), *kubeconfig, *namespace); err != nil {
		fmt.Fprintln(os.Stderr, "informers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, kubeconfig, namespace string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	all, err := caches(config, namespace)
	if err != nil {
		return err
	}
	for name, one := range all {
		_ = one.informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, r *cache.Reflector, err error) {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			cache.DefaultWatchErrorHandler(ctx, r, err)
		})
		if _, err := one.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(interface{}) { one.events.Add(1) },
			UpdateFunc: func(_, _ interface{}) { one.events.Add(1) },
			DeleteFunc: func(interface{}) { one.events.Add(1) },
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

func caches(config *rest.Config, namespace string) (map[string]*held, error) {
	protobuf := rest.CopyConfig(config)
	protobuf.ContentType = runtime.ContentTypeProtobuf
	protobuf.AcceptContentTypes = strings.Join([]string{runtime.ContentTypeProtobuf, runtime.ContentTypeJSON}, ",")
	t, err := typed.NewForConfig(protobuf)
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
	partial.SetGroupVersionKind(v1beta1.SchemeGroupVersion.WithKind("PodMetrics"))
	return map[string]*held{
		"typed": hold(&v1beta1.PodMetrics{}, t,
			func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				return t.MetricsV1beta1().PodMetricses(namespace).List(ctx, o)
			},
			t.MetricsV1beta1().PodMetricses(namespace).Watch),
		"dynamic": hold(&unstructured.Unstructured{}, d,
			func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				return d.Resource(pods).Namespace(namespace).List(ctx, o)
			},
			d.Resource(pods).Namespace(namespace).Watch),
		"metadata": hold(partial, m,
			func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				return m.Resource(pods).Namespace(namespace).List(ctx, o)
			},
			m.Resource(pods).Namespace(namespace).Watch),
	}, nil
}

func hold(
	example runtime.Object,
	client interface{},
	list func(context.Context, metav1.ListOptions) (runtime.Object, error),
	open func(context.Context, metav1.ListOptions) (watch.Interface, error),
) *held {
	one := &held{}
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			one.lists.Add(1)
			return list(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			if o.SendInitialEvents != nil && *o.SendInitialEvents {
				one.streamed.Add(1)
			} else {
				one.watches.Add(1)
			}
			return open(ctx, o)
		},
	}
	// The client is asked whether it can stream lists; fakes cannot, these can.
	one.informer = cache.NewSharedIndexInformer(cache.ToListWatcherWithWatchListSemantics(lw, client), example, 0, cache.Indexers{})
	return one
}

func (h *held) show() (shown, error) {
	made := shown{
		Synced: h.informer.HasSynced(), Version: h.informer.LastSyncResourceVersion(), Objects: map[string]json.RawMessage{},
		Lists: h.lists.Load(), Watches: h.watches.Load(), Streamed: h.streamed.Load(), Events: h.events.Load(),
	}
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
