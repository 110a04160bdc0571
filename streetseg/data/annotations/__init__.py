"""Label files of annotation tools: polygons, boxes and masks, drawn to label ids."""
