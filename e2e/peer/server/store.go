package main

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/names"
	"k8s.io/metrics/pkg/apis/metrics"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// created is the annotation in which a test says when an object was made.
const created = "peer.e2e/created"

func apiGroup(etcd generic.RESTOptionsGetter) (*genericapiserver.APIGroupInfo, error) {
	pods, err := store(etcd, kind{
		one: func() runtime.Object { return &metrics.PodMetrics{} }, list: func() runtime.Object { return &metrics.PodMetricsList{} },
		plural: "pods", namespaced: true,
	})
	if err != nil {
		return nil, err
	}
	nodes, err := store(etcd, kind{
		one: func() runtime.Object { return &metrics.NodeMetrics{} }, list: func() runtime.Object { return &metrics.NodeMetricsList{} },
		plural: "nodes",
	})
	if err != nil {
		return nil, err
	}
	group := genericapiserver.NewDefaultAPIGroupInfo(metrics.GroupName, scheme, metav1.ParameterCodec, codecs)
	group.VersionedResourcesStorageMap[metricsv1beta1.SchemeGroupVersion.Version] = map[string]rest.Storage{
		"pods": pods, "nodes": nodes,
	}
	return &group, nil
}

type kind struct {
	one, list  func() runtime.Object
	plural     string
	namespaced bool
}

func store(etcd generic.RESTOptionsGetter, k kind) (*registry.Store, error) {
	s := strategy{ObjectTyper: scheme, NameGenerator: names.SimpleNameGenerator, namespaced: k.namespaced}
	store := &registry.Store{
		NewFunc:                  k.one,
		NewListFunc:              k.list,
		PredicateFunc:            predicate,
		DefaultQualifiedResource: metrics.Resource(k.plural),
		// Empty, as metrics-server has it: clients take the lower-cased kind.
		SingularQualifiedResource: metrics.Resource(""),
		CreateStrategy:            s,
		UpdateStrategy:            s,
		DeleteStrategy:            s,
		TableConvertor:            table{},
	}
	return store, store.CompleteWithOptions(&generic.StoreOptions{RESTOptions: etcd, AttrFunc: attributes})
}

func attributes(object runtime.Object) (labels.Set, fields.Set, error) {
	accessor, err := meta.Accessor(object)
	if err != nil {
		return nil, nil, err
	}
	set := fields.Set{"metadata.name": accessor.GetName()}
	if accessor.GetNamespace() != "" {
		set["metadata.namespace"] = accessor.GetNamespace()
	}
	return accessor.GetLabels(), set, nil
}

func predicate(label labels.Selector, field fields.Selector) storage.SelectionPredicate {
	return storage.SelectionPredicate{Label: label, Field: field, GetAttrs: attributes}
}

// strategy lets everything in, and gives an object the metadata that Outrigger's rows have: no uid and no managed fields, and
// the time of creation that a test named. So an answer's bytes are equal but for the resourceVersion.
type strategy struct {
	runtime.ObjectTyper
	names.NameGenerator
	namespaced bool
}

func (s strategy) NamespaceScoped() bool { return s.namespaced }

func (strategy) PrepareForCreate(_ context.Context, object runtime.Object) {
	plain(object)
}

func (strategy) PrepareForUpdate(_ context.Context, object, _ runtime.Object) {
	plain(object)
}

func plain(object runtime.Object) {
	accessor, err := meta.Accessor(object)
	if err != nil {
		return
	}
	accessor.SetUID("")
	accessor.SetManagedFields(nil)
	annotations := accessor.GetAnnotations()
	if at, err := time.Parse(time.RFC3339, annotations[created]); err == nil {
		accessor.SetCreationTimestamp(metav1.NewTime(at))
	}
	delete(annotations, created)
	if len(annotations) == 0 {
		annotations = nil
	}
	accessor.SetAnnotations(annotations)
}

func (strategy) Validate(context.Context, runtime.Object) field.ErrorList { return nil }
func (strategy) ValidateUpdate(context.Context, runtime.Object, runtime.Object) field.ErrorList {
	return nil
}
func (strategy) WarningsOnCreate(context.Context, runtime.Object) []string { return nil }
func (strategy) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}
func (strategy) Canonicalize(runtime.Object)    {}
func (strategy) AllowCreateOnUpdate() bool      { return true }
func (strategy) AllowUnconditionalUpdate() bool { return true }
