package main

import (
	"context"
	"fmt"
	"sort"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	core "k8s.io/metrics/pkg/apis/metrics"
)

// table shows what metrics-server shows: the name, one column for each resource of the first object, the window.
type table struct{}

func (table) ConvertToTable(_ context.Context, object runtime.Object, options runtime.Object) (*metav1.Table, error) {
	made := &metav1.Table{}
	if list, err := meta.ListAccessor(object); err == nil {
		made.ResourceVersion = list.GetResourceVersion()
		made.Continue = list.GetContinue()
		made.RemainingItemCount = list.GetRemainingItemCount()
	} else if one, err := meta.CommonAccessor(object); err == nil {
		made.ResourceVersion = one.GetResourceVersion()
	}
	var names []string
	add := func(object runtime.Object) error {
		name, usage, window := shown(object)
		if usage == nil {
			return fmt.Errorf("%T is no metric", object)
		}
		if names == nil {
			for resource := range usage {
				names = append(names, string(resource))
			}
			sort.Strings(names)
			if o, ok := options.(*metav1.TableOptions); !ok || !o.NoHeaders {
				made.ColumnDefinitions = append(made.ColumnDefinitions,
					metav1.TableColumnDefinition{Name: "Name", Type: "string", Format: "name", Description: "Name of the resource"})
				for _, resource := range names {
					made.ColumnDefinitions = append(made.ColumnDefinitions,
						metav1.TableColumnDefinition{Name: resource, Type: "string", Format: "quantity"})
				}
				made.ColumnDefinitions = append(made.ColumnDefinitions,
					metav1.TableColumnDefinition{Name: "Window", Type: "string", Format: "duration"})
			}
		}
		cells := []interface{}{name}
		for _, resource := range names {
			quantity := usage[corev1.ResourceName(resource)]
			cells = append(cells, quantity.String())
		}
		made.Rows = append(made.Rows, metav1.TableRow{Cells: append(cells, window), Object: runtime.RawExtension{Object: object}})
		return nil
	}
	if meta.IsListType(object) {
		return made, meta.EachListItem(object, add)
	}
	return made, add(object)
}

func shown(object runtime.Object) (string, corev1.ResourceList, string) {
	switch o := object.(type) {
	case *core.NodeMetrics:
		return o.Name, o.Usage, o.Window.Duration.String()
	case *core.PodMetrics:
		sum := corev1.ResourceList{}
		for _, container := range o.Containers {
			for resource, used := range container.Usage {
				total := sum[resource]
				total.Add(used)
				sum[resource] = total
			}
		}
		return o.Name, sum, o.Window.Duration.String()
	}
	return "", nil, ""
}
